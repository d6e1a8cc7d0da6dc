"""A data set of another format is written as a file in COCO's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from resnext_backbones.data.formats.labels import Account, LabelledImage, LabelledObject, Source
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text

FORMATS = {"yolo": "YOLO", "voc": "Pascal VOC", "labelme": "LabelMe"}
"""Each is a module beside this one with a function `read`, and the name that people give it."""

Progress = Callable[[Iterable[LabelledImage]], Iterable[LabelledImage]]


@dataclass(frozen=True)
class Converted:
    """A file was written."""

    path: Path
    images_root: Path  # the folder that `file_name` begins at
    images: int
    categories: tuple[str, ...]
    account: Account


def to_coco(kind: str, source: Source, out: Path, progress: Progress | None = None) -> Converted:
    """Writes the labels of a data set as a file in COCO's format, whole or not at all.

    Args:
        kind: of `FORMATS`.
        source: where the labels are.
        out: the file.
        progress: wraps the images as they are read.

    Raises:
        InputError: of all that cannot be read; each problem names its file and its place there.
    """
    account = Account()
    source = replace(source, images=source.images and source.images.resolve())
    if source.images is not None and not source.images.is_dir():
        raise InputError(f"images {source.images}: there is no such folder")
    reader = import_module(f"resnext_backbones.data.formats.{kind}")
    classes, found = reader.read(source, account)
    images = list(progress(found) if progress else found)
    account.objects = sum(len(image.objects) for image in images)
    account.check()
    if not images:
        raise InputError(f"{source.path}: has no image with labels")
    occurring = {thing.category for image in images for thing in image.objects}
    categories = classes or tuple(sorted(occurring))
    root = source.images or Path(os.path.commonpath([i.file.parent.resolve() for i in images]))
    content = _content(images, categories, root, FORMATS[kind])
    atomic_write_text(out, json.dumps(content))
    return Converted(out, root, len(images), categories, account)


def _content(
    images: list[LabelledImage], categories: tuple[str, ...], root: Path, origin: str
) -> dict[str, Any]:
    category_ids = {name: number for number, name in enumerate(categories, 1)}
    listed, annotations, ids = [], [], count(1)
    for image_id, image in enumerate(images, 1):
        name, (width, height) = _name(image.file, root), image.size
        listed.append({"id": image_id, "file_name": name, "width": width, "height": height})
        annotations += [
            {
                "id": next(ids),
                "image_id": image_id,
                "category_id": category_ids[thing.category],
                "bbox": thing.box,
                **_outline(thing, image.size),
                "iscrowd": int(thing.crowd),
                **thing.others,
            }
            for thing in image.objects
        ]
    return {
        "info": {"description": f"from {origin}"},
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }


def _name(file: Path, root: Path) -> str:
    # A link to an image keeps its own name, so long as its folder is within the root.
    file = file.parent.resolve() / file.name
    if not file.is_relative_to(root):
        raise InputError(f"image {file}: is not in {root}, so has no name there; see IMAGES")
    return file.relative_to(root).as_posix()


def _outline(thing: LabelledObject, size: tuple[int, int]) -> dict[str, Any]:
    """Returns segmentation and area: RLE of what is no polygon, none of what is only a box."""
    if thing.mask is not None:
        from pycocotools import mask as rle

        code = rle.encode(np.asfortranarray(thing.mask, np.uint8))
        if thing.polygons:
            width, height = size
            code = rle.merge([code, *rle.frPyObjects(thing.polygons, height, width)])
        plain = {**code, "counts": code["counts"].decode()}
        return {"segmentation": plain, "area": int(rle.area(code))}
    if thing.polygons:
        areas = [_area(polygon) for polygon in thing.polygons]
        return {"segmentation": thing.polygons, "area": round(sum(areas), 4)}
    return {"area": round(thing.box[2] * thing.box[3], 4)}


def _area(polygon: list[float]) -> float:
    x, y = np.array(polygon[::2]), np.array(polygon[1::2])
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
