"""LabelMe's labels: a JSON file for each image, with shapes in its pixels."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image
from supervision.dataset.formats.labelme import labelme_shapes_to_detections

from resnext_backbones.data.formats.labels import (
    Account,
    LabelledImage,
    LabelledObject,
    Labels,
    Source,
    box_of,
    check_place,
    read_files,
    read_text,
    rounded,
)
from resnext_backbones.errors import InputError

AS_POLYGON = ("polygon", "rotation", "oriented_rectangle", "circle", "mask")
"""Shapes that have an outline; a rectangle is a box alone."""

WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read(
    source: Source, account: Account
) -> tuple[tuple[str, ...] | None, Iterator[LabelledImage]]:
    """Returns the names of the classes, where they are given, and the images one by one."""
    if source.split is not None:
        raise InputError("--split: LabelMe has none; name the folder of one split's files")
    if not source.path.is_dir():
        raise InputError(f"{source.path}: there is no such folder; name the one of the JSON files")
    files = sorted(source.path.rglob("*.json"))
    if not files:
        raise InputError(f"{source.path}: has no JSON files")
    read = partial(_read, images=source.images, account=account)
    make = partial(_object, account=account)
    return source.classes, read_files(files, read, make, source, account)


def _read(path: Path, images: Path | None, account: Account) -> Labels | None:
    try:
        content = json.loads(read_text(path))
    except (InputError, ValueError, RecursionError) as error:
        account.problem(str(path), f"cannot be read as JSON: {error}")
        return None
    if not isinstance(content, dict) or content.keys().isdisjoint(("shapes", "imagePath")):
        account.notice("JSON file of another kind: passed over", str(path))
        return None
    if not isinstance(content.get("shapes"), list):
        account.problem(str(path), "its `shapes` is no list")
        return None
    written = content.get("imagePath")
    image = _image_of(written, path.parent, images)
    if image is None:
        place = images or path.parent
        account.problem(
            str(path),
            f"its imagePath {written!r} is not in {place} either; IMAGES names the folder",
        )
    labels = []
    for number, shape in enumerate(content["shapes"], 1):
        label = shape.get("label") if isinstance(shape, dict) else None
        labels.append((f"{path} shape {number} ({label})", shape))
    return Labels(labels, image, (content.get("imageWidth"), content.get("imageHeight")))


def _image_of(written: Any, folder: Path, images: Path | None) -> Path | None:
    """Returns the image, by its path from the file, or by its name in the folder of images."""
    if not isinstance(written, str) or not written:
        return None
    parts = PureWindowsPath(written)  # which takes both kinds of slashes
    places = [folder / parts.as_posix(), folder / parts.name]
    if images is not None:
        places = [images / parts.name, folder / parts.as_posix()]
    found = next((place for place in places if place.is_file()), None)
    return found and found.parent.resolve() / found.name


def _object(
    shape: Any, where: str, size: tuple[int, int], account: Account
) -> LabelledObject | None:
    if not isinstance(shape, dict):
        raise ValueError("is no table with label and points")
    kind = shape.get("shape_type") or "polygon"  # as LabelMe reads older files
    if kind in WITHOUT_AREA:
        account.leave_out(f"{kind}: has no area", where)
        return None
    label, points, group = shape.get("label"), shape.get("points"), shape.get("group_id")
    if not isinstance(label, str) or not label.strip():
        raise ValueError("has no label")
    if kind not in ("rectangle", *AS_POLYGON):
        raise ValueError(f"its shape_type {kind!r} is not known")
    if kind == "circle":
        points = _circle(points)
    # The library says what is wrong with points, and takes corners in any order.
    known = {**shape, "points": points, "group_id": None}
    known["shape_type"] = "rectangle" if kind in ("rectangle", "mask") else "polygon"
    try:
        read = labelme_shapes_to_detections([known], {label: 0}, size, with_masks=False)
        corners = [float(value) for value in read.xyxy[0]]
    except TypeError as error:
        raise ValueError(f"its points are {str(points)[:60]}") from error
    check_place(box_of(*corners), size)
    if kind == "mask":
        mask = _mask(shape, corners, size)
        return LabelledObject(label, _box_of_mask(mask), mask=mask, group=group)
    outline = [rounded(v for point in points or () for v in point)] if kind in AS_POLYGON else []
    return LabelledObject(label, box_of(*corners), outline, group=group)


def _circle(points: Any) -> list[list[float]]:
    """Returns points on a circle of a centre and a point on it: one about every two pixels."""
    try:
        (x, y), (x2, y2) = ((float(x), float(y)) for x, y in points)
        radius = math.hypot(x2 - x, y2 - y)
        count = 4 * min(max(round(radius * math.pi / 4), 4), 90)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a circle has two points, not {str(points)[:60]}") from error
    angles = [2 * math.pi * number / count for number in range(count)]
    return [[x + radius * math.cos(angle), y + radius * math.sin(angle)] for angle in angles]


def _mask(shape: dict[str, Any], corners: list[float], size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of the whole image; LabelMe keeps that of the box, as a PNG in base64."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"], validate=True))) as image:
            part = np.asarray(image.convert("L")) > 0
    except (KeyError, TypeError, binascii.Error, OSError, SyntaxError) as error:
        raise ValueError(f"its mask is no PNG in base64: {error!r}") from error
    left, top, right, bottom = map(round, corners)
    height, width = part.shape
    if (width, height) != (right - left + 1, bottom - top + 1):
        raise ValueError(f"its mask has {width} x {height} pixels, which are not those of its box")
    if left < 0 or top < 0 or right >= size[0] or bottom >= size[1]:
        raise ValueError(f"its mask is not within the image of {size[0]} x {size[1]} pixels")
    if not part.any():
        raise ValueError("its mask is empty")
    mask = np.zeros((size[1], size[0]), bool)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def _box_of_mask(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return box_of(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
