"""Real images of COCO, with their annotations as other formats have them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image

LIMIT = 12  # images

Objects = list[tuple[str, dict[str, Any]]]


def truth(coco_tiny: Path) -> Iterator[tuple[dict[str, Any], Objects]]:
    """The first images that have objects, with names and annotations; of crowds, none."""
    content = json.loads((coco_tiny / "annotations" / "instances_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    of = defaultdict(list)
    for a in content["annotations"]:
        if not a["iscrowd"]:
            of[a["image_id"]].append((names[a["category_id"]], a))
    images = [image for image in content["images"] if of[image["id"]]]
    for image in images[:LIMIT]:
        yield image, of[image["id"]]


def classes(coco_tiny: Path) -> list[str]:
    return sorted({name for _, objects in truth(coco_tiny) for name, _ in objects})


def _link(coco_tiny: Path, folder: Path, image: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / image["file_name"]
    path.symlink_to(coco_tiny / "val2017" / image["file_name"])
    return path


def write_yolo(coco_tiny: Path, root: Path, *, segment: bool) -> Path:
    """As Ultralytics has it; of an object of several parts, the first polygon."""
    names = classes(coco_tiny)
    (root / "labels" / "train").mkdir(parents=True)
    for image, objects in truth(coco_tiny):
        path = _link(coco_tiny, root / "images" / "train", image)
        sides, lines = (image["width"], image["height"]), []
        for name, a in objects:
            x, y, w, h = a["bbox"]
            values = a["segmentation"][0] if segment else (x + w / 2, y + h / 2, w, h)
            numbers = " ".join(f"{v / sides[i % 2]:.6f}" for i, v in enumerate(values))
            lines.append(f"{names.index(name)} {numbers}\n")
        (root / "labels" / "train" / path.name).with_suffix(".txt").write_text("".join(lines))
    listed = "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames:\n{listed}")
    return root / "data.yaml"


def write_voc(coco_tiny: Path, root: Path) -> Path:
    """The devkit's folders; every second object is difficult, every third occluded."""
    (root / "Annotations").mkdir(parents=True)
    for image, objects in truth(coco_tiny):
        path = _link(coco_tiny, root / "JPEGImages", image)
        text = (
            f"<annotation><filename>{path.name}</filename><size><width>{image['width']}</width>"
            f"<height>{image['height']}</height><depth>3</depth></size>"
        )
        for number, (name, a) in enumerate(objects):
            x, y, w, h = a["bbox"]
            sides = (x + 1, y + 1, x + w, y + h)
            tags = ("xmin", "ymin", "xmax", "ymax")
            box = "".join(f"<{t}>{round(v)}</{t}>" for t, v in zip(tags, sides, strict=True))
            flags = (
                f"<difficult>{number % 2}</difficult><occluded>{int(number % 3 == 0)}</occluded>"
            )
            text += f"<object><name>{escape(name)}</name>{flags}<bndbox>{box}</bndbox></object>"
        file = (root / "Annotations" / path.name).with_suffix(".xml")
        file.write_text(f"{text}</annotation>")
    return root


def write_labelme(coco_tiny: Path, root: Path) -> Path:
    """Polygons, all of an object in one group; what has one alone is a rectangle at each third."""
    (root / "json").mkdir(parents=True)
    for image, objects in truth(coco_tiny):
        path = _link(coco_tiny, root / "images", image)
        shapes = []
        for number, (name, a) in enumerate(objects):
            x, y, w, h = a["bbox"]
            shared = {"label": name, "flags": {}}
            if number % 3 == 2:
                points = [[x + w, y], [x, y + h]]
                shapes.append({**shared, "shape_type": "rectangle", "points": points})
                continue
            group = number if len(a["segmentation"]) > 1 else None
            for polygon in a["segmentation"]:
                points = list(zip(polygon[::2], polygon[1::2], strict=True))
                part = {"shape_type": "polygon", "points": points, "group_id": group}
                shapes.append({**shared, **part})
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\images\\{path.name}",
            "imageData": None,
            "imageWidth": image["width"],
            "imageHeight": image["height"],
        }
        (root / "json" / path.name).with_suffix(".json").write_text(json.dumps(content))
    return root / "json"


A_YOLO, A_VOC, A_LABELME = "0 .5 .5 .2 .2\n", "<xmin>4</xmin>", '"points": [[20, 20], [30, 20]]'
VOC_FILE = (
    "<annotation><filename>a.png</filename><size><width>100</width><height>50</height></size>"
    f"<object><name>x</name><bndbox>{A_VOC}<ymin>5</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    "</object></annotation>"
)


def labelme_file(folder: Path, shapes: list[Any], size: tuple[int, int] = (60, 40)) -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", size).save(folder / "a.png")
    content = {
        "imagePath": "a.png",
        "shapes": shapes,
        "imageWidth": size[0],
        "imageHeight": size[1],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder
