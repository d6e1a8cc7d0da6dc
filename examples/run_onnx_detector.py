"""Prints what a detector finds in an image, by a file of `resnext export --detector` alone.

python examples/run_onnx_detector.py mask_rcnn.onnx street.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
said = session.get_modelmeta().custom_metadata_map
pixels, classes = json.loads(said["preprocessing"]), json.loads(said["classes"])

image = ImageOps.exif_transpose(Image.open(sys.argv[2]))  # as a camera was held
values = np.asarray(image.convert("RGB"), np.float32)
values = values[..., ::-1] if pixels["order"] == "BGR" else values
values = (values - np.float32(pixels["mean"])) / np.float32(pixels["std"])
images = np.ascontiguousarray(values.transpose(2, 0, 1)[None])  # the file scales it

found = dict(zip(json.loads(said["outputs"]), session.run(None, {"images": images}), strict=True))
for i, (box, label, score) in enumerate(
    zip(found["boxes"], found["labels"], found["scores"], strict=True)
):
    name = classes[label] if classes else f"class {label}"
    area = f" {(found['masks'][i] > 0.5).sum()} pixels" if "masks" in found else ""
    print(f"{name} {score:.3f}", *(f"{side:.1f}" for side in box), area)
