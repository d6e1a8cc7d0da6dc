"""Runs an image through a file of `resnext export --format onnx`, without PyTorch.

python examples/run_onnx.py x50.onnx street.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
said = session.get_modelmeta().custom_metadata_map
pixels = json.loads(said["preprocessing"])
if pixels == "unknown":
    sys.exit("the file does not say which pixels the network expects")
if said["task"] == "classifier" and pixels["crop"] is None:
    sys.exit("the file does not say what is cut out of an image; export it with --crop")

image = ImageOps.exif_transpose(Image.open(sys.argv[2]))  # as a camera was held
image = image.convert("L" if pixels["order"] == "grey" else "RGB")
if isinstance(crop := pixels["crop"], dict):  # the middle, of an image with this shorter side
    sides = [crop["resize"] * side // min(image.size) for side in image.size]
    image = image.resize(sides, Image.Resampling[crop["interpolation"].upper()])
    left, top = (round((side - crop["size"]) / 2) for side in sides)
    image = image.crop((left, top, left + crop["size"], top + crop["size"]))
values = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
values = values[..., ::-1] if pixels["order"] == "BGR" else values
values = (values - np.float32(pixels["mean"])) / np.float32(pixels["std"])
images = np.ascontiguousarray(values.transpose(2, 0, 1)[None])

found = session.run(None, {"images": images})
for output, value in zip(json.loads(said["outputs"]), found, strict=True):
    print(output["name"], tuple(value.shape))
if said["task"] == "classifier":
    names = json.loads(said.get("classes", "[]"))
    shares = np.exp(found[0][0] - found[0][0].max())
    for number in np.argsort(-shares)[:5]:
        name = names[number] if names else f"class {number}"
        print(f"{name}: {shares[number] / shares.sum():.1%}")
