"""A folder in which the documents' commands find what they name: small data, and the checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from resnext_backbones.datasets import generate_shapes

ROOT = Path(__file__).parents[1]
COCO = [
    name
    for name in MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    if name not in ("N/A", "__background__")
]
SIDE = 96


def make_world(folder: Path) -> Path:
    """Four images to train on and two to evaluate on, as each command names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tools", "examples"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "my_data").symlink_to(".")
    (folder / "configs").mkdir()  # which takes more
    for path in (ROOT / "configs").iterdir():
        (folder / "configs" / path.name).symlink_to(path)
    coco = folder / "data" / "coco"
    generate_shapes(coco, num_train=4, num_val=2, image_size=(SIDE, SIDE))
    (folder / "annotations").mkdir()
    for part, short in (("train2017", "train"), ("val2017", "val")):
        path = coco / "annotations" / f"instances_{part}.json"
        content = with_the_classes_of_coco(json.loads(path.read_text()))
        path.write_text(json.dumps(content))
        for name in (path.name, f"{short}.json"):
            shutil.copy(path, folder / "annotations" / name)
        for name in (part, short):
            (folder / name).symlink_to(coco / part)
        other_formats(folder, short, content, coco / part)
    images = sorted((coco / "val2017").iterdir())
    shutil.copy(images[0], folder / "street.jpg")
    (folder / "holiday").symlink_to(coco / "val2017")
    labelled(folder / "imagenet", ("train", "val"), 8, SIDE)
    labelled(folder / "data" / "cifar10", ("train", "test"), 10, 32)
    return folder


def with_the_classes_of_coco(content: dict[str, Any]) -> dict[str, Any]:
    """The same objects, called by the first of COCO's names, beside all others of its names."""
    ids = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    listed = [{"id": ids.index(name), "name": name, "supercategory": ""} for name in COCO]
    return {**content, "categories": listed}


def labelled(root: Path, parts: tuple[str, ...], classes: int, side: int) -> None:
    """One image of noise for each class."""
    draw = np.random.default_rng(0)
    for part in parts:
        for number in range(classes):
            target = root / part / f"n{number:08d}"
            target.mkdir(parents=True)
            pixels = draw.integers(0, 255, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(target / "0.jpg", quality=50)


def other_formats(folder: Path, split: str, content: dict[str, Any], images: Path) -> None:
    """The same boxes as YOLO, Pascal VOC and LabelMe have them."""
    names = [category["name"] for category in content["categories"]]
    of = {category["id"]: number for number, category in enumerate(content["categories"])}
    yolo, voc, labelme = folder / "labels" / split, folder / "VOC2012", folder / "shapes"
    for path in (yolo, voc / "Annotations", voc / "ImageSets" / "Main", labelme):
        path.mkdir(parents=True, exist_ok=True)
    for target in (folder / "images" / split, folder / "images", voc / "JPEGImages"):
        target.mkdir(parents=True, exist_ok=True)
        for path in images.iterdir():
            shutil.copy(path, target)
    for image in content["images"]:
        stem = Path(image["file_name"]).stem
        lines, objects, shapes = [], "", []
        for each in content["annotations"]:
            if each["image_id"] != image["id"]:
                continue
            x, y, w, h = each["bbox"]
            number = of[each["category_id"]]
            box = [(x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE]
            lines.append(" ".join([str(number), *(f"{value:.6f}" for value in box)]))
            corners = zip(
                ("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + w, y + h), strict=True
            )
            sides = "".join(f"<{tag}>{round(value)}</{tag}>" for tag, value in corners)
            objects += f"<object><name>{names[number]}</name><bndbox>{sides}</bndbox></object>"
            points = [[x, y], [x + w, y + h]]
            shapes.append({"label": names[number], "points": points, "shape_type": "rectangle"})
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
        start = f"<annotation><filename>{image['file_name']}</filename>"
        (yolo / f"{stem}.txt").write_text("\n".join(lines))
        (voc / "Annotations" / f"{stem}.xml").write_text(f"{start}{size}{objects}</annotation>")
        described = {"imagePath": image["file_name"], "imageWidth": SIDE, "imageHeight": SIDE}
        (labelme / f"{stem}.json").write_text(json.dumps({**described, "shapes": shapes}))
    stems = [Path(image["file_name"]).stem for image in content["images"]]
    (voc / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
    parts = {part: f"images/{part}" for part in ("train", "val")}
    numbered = dict(enumerate(names))
    (folder / "data.yaml").write_text(json.dumps({"path": ".", **parts, "names": numbered}))
