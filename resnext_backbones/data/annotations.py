"""Annotation files in COCO's format are read and checked here; an InputError says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnext_backbones.data.image_sizes import check_sizes
from resnext_backbones.errors import InputError, some

Content = dict[str, list[dict[str, Any]]]


def read_coco(
    path: Path, needed: Sequence[str] = ("images", "annotations", "categories")
) -> Content:
    """Returns what an annotation file holds, in COCO's format with the lists that are `needed`."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"annotation file {path}: is not JSON: {error}") from error
    for key in needed:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(
                f"annotation file {path}: has no list {key!r}, so is not COCO's format"
            )
    return content


def find_annotations(root: Path, name: str) -> Path:
    """Returns the path of an annotation file in a data root, where both must be."""
    if not root.is_dir():
        raise InputError(
            f"data root {root}: there is no such folder. The configs of this package take it from "
            "COCO_ROOT, which names the folder with annotations/, train2017/ and val2017/; others "
            "have it as `data_root` in each data set"
        )
    path = root / name
    if not path.is_file():
        raise InputError(f"annotation file {path}: there is no such file")
    return path


def check_boxes(path: Path, content: Content) -> None:
    """Checks that each annotation has a box, and an image and a category that are listed."""
    images = {image.get("id") for image in content["images"]}
    kinds = {category.get("id") for category in content["categories"]}
    for image in content["images"]:
        if not _are_numbers([image.get("width"), image.get("height")], 2):
            raise InputError(
                f"annotation file {path}: image {image.get('id')} has no width and height in pixels"
            )
    for annotation in content["annotations"]:
        box = annotation.get("bbox")
        for wrong, problem in (
            (not _are_numbers(box, 4), "no bbox of four numbers"),
            (annotation.get("image_id") not in images, "an image_id that is not listed"),
            (annotation.get("category_id") not in kinds, "a category_id that is not listed"),
        ):
            if wrong:
                name = f"annotation file {path}: annotation {annotation.get('id')}"
                raise InputError(f"{name} has {problem}")


def _are_numbers(values: Any, count: int) -> bool:
    numbers = isinstance(values, list) and all(isinstance(v, int | float) for v in values)
    return numbers and len(values) == count


def check_ids(path: Path, content: Content, *, evaluated: bool) -> None:
    """Checks that ids of annotations are distinct, since one hides the other. Those that are
    evaluated must not be 0, which pycocotools reads as found by nothing, nor lack what it reads.
    """
    ids: set[Any] = set()
    for annotation in content["annotations"]:
        own = annotation.get("id")
        lacks = [key for key in ("id", "area", "iscrowd") if key not in annotation]
        for wrong, problem in (
            (own is None or own in ids, "no id of its own"),
            (evaluated and own == 0, "the id 0, which COCO's evaluation takes for no object"),
            ("area" in lacks or (evaluated and lacks), f"no {' and no '.join(lacks)}"),
        ):
            if wrong:
                raise InputError(
                    f"annotation file {path}: annotation {own} has {problem}; number annotations "
                    "from 1, and give each its area and iscrowd"
                )
        ids.add(own)


def complete_annotations(path: Path, content: Content) -> None:
    """Gives annotations what COCO's evaluation reads and many tools leave out: ids from 1, area and
    iscrowd; they are checked by `check_boxes`.
    """
    check_boxes(path, content)
    for number, annotation in enumerate(content["annotations"], 1):
        annotation["id"] = number
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])


def check_images(path: Path, images: list[dict[str, Any]], folder: Path) -> None:
    """Checks that every image is there, one listing a folder, as there can be 100,000 of them, and
    has the size that the file says.
    """
    # LVIS names its images by their address.
    files = [folder / image["file_name"] for image in images if "file_name" in image]
    parents = {file.parent for file in files}
    present = {file for parent in parents if parent.is_dir() for file in parent.iterdir()}
    if missing := [str(file) for file in files if file not in present]:
        raise InputError(
            f"annotation file {path}: {len(missing)} of its {len(images)} images are missing: "
            f"{some(sorted(missing))}"
        )
    check_sizes(path, images, folder)


def annotation_file(root: Path, split: str) -> Path:
    """Returns the path of a split's annotations in COCO's layout, of `train2017` say."""
    return root / "annotations" / f"instances_{split}.json"
