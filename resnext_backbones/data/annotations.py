"""Annotation files in COCO's format."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError, some

COCO_LISTS = ("images", "annotations", "categories")


def read_coco(path: Path, needed: Sequence[str] = COCO_LISTS) -> dict[str, list[dict[str, Any]]]:
    """Returns what an annotation file holds.

    Args:
        needed: the lists that must be there.

    Raises:
        InputError: it is not in COCO's format.
    """
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


@contextmanager
def reading(what: str, path: Path) -> Iterator[None]:
    """Names the image or mask that cannot be read in an InputError."""
    try:
        yield
    except (OSError, SyntaxError) as error:  # a PNG that is broken is a SyntaxError
        raise InputError(f"{what} {path}: cannot be read: {error}") from error


def find_annotations(root: Path, name: str) -> Path:
    """Returns the path of an annotation file in a data root.

    Raises:
        InputError: the folder or the file is not there.
    """
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


def complete_annotations(path: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    """Give annotations what COCO's evaluation reads and many tools leave out: area and iscrowd.

    Raises:
        InputError: one has no box, or is of an image or a category that is not listed.
    """
    images = {image.get("id") for image in content["images"]}
    kinds = {category.get("id") for category in content["categories"]}
    for annotation in content["annotations"]:
        box: Any = annotation.get("bbox")
        problems = {
            "no bbox of four numbers": not isinstance(box, list) or len(box) != 4,
            "an image_id that is not listed": annotation.get("image_id") not in images,
            "a category_id that is not listed": annotation.get("category_id") not in kinds,
        }
        if wrong := [problem for problem, there in problems.items() if there]:
            raise InputError(
                f"annotation file {path}: annotation {annotation.get('id')} has {wrong[0]}"
            )
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", box[2] * box[3])


def check_images(path: Path, images: list[dict[str, Any]], folder: Path) -> None:
    """Every image is there; one listing a folder, as there can be 100,000 of them.

    Raises:
        InputError: some are not.
    """
    names: dict[Path, list[str]] = defaultdict(list)
    for image in images:
        if "file_name" not in image:
            continue  # LVIS names its images by their address
        file = folder / image["file_name"]
        names[file.parent].append(file.name)
    missing = []
    for parent, files in names.items():
        present = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
        missing += [str(parent / file) for file in files if file not in present]
    if missing:
        raise InputError(
            f"annotation file {path}: {len(missing)} of its {len(images)} images are missing: "
            f"{some(sorted(missing))}"
        )
