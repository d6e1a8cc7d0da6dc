"""Runs an image through a file of `resnext export --format openvino`, without PyTorch.

python examples/run_openvino.py x50.xml street.jpg
"""

import json
import sys

import numpy as np
import openvino
from PIL import Image, ImageOps

model = openvino.Core().read_model(sys.argv[1])
said = model.get_rt_info(["resnext_backbones"]).astype(dict)
said = {key: str(value.value) for key, value in said.items()}
# Without this, some processors compute in bfloat16.
compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
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

result = compiled(images)
found = [result[output] for output in compiled.outputs]
for output, value in zip(json.loads(said["outputs"]), found, strict=True):
    print(output["name"], tuple(value.shape))
if said["task"] == "classifier":
    names = json.loads(said.get("classes", "[]"))
    shares = np.exp(found[0][0] - found[0][0].max())
    for number in np.argsort(-shares)[:5]:
        name = names[number] if names else f"class {number}"
        print(f"{name}: {shares[number] / shares.sum():.1%}")
