"""A data set in COCO's layout gives smaller ones: its first images, or its objects, cut out."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from PIL import Image

from resnext_backbones.data.annotations import annotation_file, read_annotations
from resnext_backbones.data.pixels import read_image
from resnext_backbones.data.rules import Use
from resnext_backbones.io import whole_tree

MARGIN = 1.25  # sides of a crop over the longer side of the object's box
SMALLEST = 12  # pixels of the longer side of a box; smaller objects are left out


def coco_subset(source: str | Path, root: str | Path, *, num_train: int, num_val: int) -> Path:
    """Writes a tree with the first annotated images of another, as links; returns its `root`.

    Raises:
        FileNotFoundError: `source` lacks an annotation file or a folder of images.
        ValueError: an annotation file is not in COCO's format.
        FileExistsError: `root` is a file or a folder that is not empty.
    """
    source, root = Path(source).absolute(), Path(root)
    limits = {"train2017": num_train, "val2017": num_val}
    for path in (p for split in limits for p in (annotation_file(source, split), source / split)):
        if not path.exists():
            raise FileNotFoundError(f"{path}: not found; is {source} a COCO tree?")
    with whole_tree(root) as partial:
        (partial / "annotations").mkdir()
        for split, limit in limits.items():
            _write_split(source, partial, split, limit)
    return root


def _write_split(source: Path, root: Path, split: str, limit: int) -> None:
    path = annotation_file(source, split)
    try:
        content = json.loads(path.read_bytes())
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        content["images"] = [i for i in content["images"] if i["id"] in annotated][:limit]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not in COCO's format: {error!r}") from error
    taken = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in taken]
    annotation_file(root, split).write_text(json.dumps(content), encoding="utf-8")
    (root / split).mkdir()
    for image in content["images"]:
        link = root / split / image["file_name"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source / split / image["file_name"])


def object_crops(source: str | Path, root: str | Path) -> list[str]:
    """Cuts out the objects of a tree, to pretrain a classifier on what its detector will see.

    Crops are squares around the box of an object, black beyond the image, in `train/NAME/ID.jpg`
    and `val/NAME/ID.jpg`. Crowds are left out, and categories that one of the two parts lacks.
    Returns the names of the categories, sorted; fewer than two of them are a ValueError, and
    annotations or images that cannot be used an InputError.
    """
    source, root = Path(source), Path(root)
    parts = {part: _objects(source, f"{part}2017") for part in ("train", "val")}
    names = sorted(parts["train"].keys() & parts["val"].keys())
    if len(names) < 2:
        raise ValueError(f"{source}: fewer than two categories are in both parts: {names}")
    with whole_tree(root) as partial:
        for part, objects in parts.items():
            for name in names:
                folder = partial / part / name.replace("/", " ")
                folder.mkdir(parents=True)
                for number, image, box in objects[name]:
                    size = image["width"], image["height"]
                    pixels = read_image(source / f"{part}2017" / image["file_name"], size=size)
                    crop = Image.fromarray(pixels).crop(_square(box))
                    crop.save(folder / f"{number}.jpg", quality=95)
    return names


def _objects(source: Path, split: str) -> dict[str, list[tuple[int, dict[str, Any], list[float]]]]:
    """Returns number, image and box of the objects of each category."""
    use = Use(train=True, part=True)
    content = read_annotations(annotation_file(source, split), use).content
    names = {category["id"]: category["name"] for category in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    found = defaultdict(list)
    for a in content["annotations"]:
        if not a["iscrowd"] and max(a["bbox"][2:]) >= SMALLEST:
            found[names[a["category_id"]]].append((a["id"], images[a["image_id"]], a["bbox"]))
    return found


def _square(box: list[float]) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom around a box of (x, y, width, height)."""
    x, y, width, height = box
    half = MARGIN * max(width, height) / 2
    left, top = round(x + width / 2 - half), round(y + height / 2 - half)
    return left, top, left + round(2 * half), top + round(2 * half)
