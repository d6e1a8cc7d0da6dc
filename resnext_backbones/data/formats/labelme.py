"""LabelMe's labels: a JSON file for each image, with shapes in its pixels."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image
from supervision.dataset.formats.labelme import labelme_shapes_to_detections

from resnext_backbones.data.formats.labels import (
    Account,
    LabelledImage,
    LabelledObject,
    Source,
    box_of,
    check_place,
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
    return source.classes, _images(files, source, account)


def _images(files: list[Path], source: Source, account: Account) -> Iterator[LabelledImage]:
    owners: dict[Path, Path] = {}
    for path in files:
        try:
            content = json.loads(read_text(path))
        except (InputError, ValueError, RecursionError) as error:
            account.problem(str(path), f"cannot be read as JSON: {error}")
            continue
        if not isinstance(content, dict) or content.keys().isdisjoint(("shapes", "imagePath")):
            account.notice("JSON file of another kind: passed over", str(path))
            continue
        if not isinstance(content.get("shapes"), list):
            account.problem(str(path), "its `shapes` is no list")
            continue
        account.labels += len(content["shapes"])
        image = _image_of(content, path, source.images)
        if image is None:
            place = source.images or path.parent
            account.problem(
                str(path), f"its imagePath {content.get('imagePath')!r} is not in {place} either; "
                "IMAGES names the folder"
            )  # fmt: skip
        elif image in owners:
            account.problem(str(path), f"is of {image}, as {owners[image]} is; keep one of them")
        elif (size := account.size_of(image)) is not None:
            owners[image] = path
            if _same_size(content, path, size, account):
                objects = _objects(content["shapes"], path, size, source.classes, account)
                yield LabelledImage(image, size, objects)


def _image_of(content: dict[str, Any], path: Path, images: Path | None) -> Path | None:
    """Returns the image, by its path from the file, or by its name in the folder of images."""
    written = content.get("imagePath")
    if not isinstance(written, str) or not written:
        return None
    parts = PureWindowsPath(written)  # which takes both kinds of slashes
    folder = images or path.parent
    if images is not None:
        places = [folder / parts.name, path.parent / parts.as_posix()]
    else:
        places = [path.parent / parts.as_posix(), folder / parts.name]
    found = next((place for place in places if place.is_file()), None)
    return found and found.parent.resolve() / found.name


def _same_size(
    content: dict[str, Any], path: Path, size: tuple[int, int], account: Account
) -> bool:
    said = (content.get("imageWidth"), content.get("imageHeight"))
    if not all(said):
        account.notice("no size in the JSON: the image's own", str(path))
    elif said != size:
        account.problem(
            str(path), f"says {said[0]} x {said[1]} pixels, and the image has {size[0]} x {size[1]}"
        )
        return False
    return True


def _objects(
    shapes: list[Any],
    path: Path,
    size: tuple[int, int],
    classes: tuple[str, ...] | None,
    account: Account,
) -> list[LabelledObject]:
    groups: dict[Any, LabelledObject] = {}
    for number, shape in enumerate(shapes, 1):
        label = shape.get("label") if isinstance(shape, dict) else None
        where = f"{path} shape {number} ({label})"
        try:
            if not isinstance(shape, dict):
                raise ValueError("is no table with label and points")
            kind = shape.get("shape_type") or "polygon"  # as LabelMe reads older files
            if kind in WITHOUT_AREA:
                account.leave_out(f"{kind}: has no area", where)
                continue
            found = _object(shape, kind, size, classes)
        except (ValueError, OverflowError) as error:
            account.problem(where, str(error))
            continue
        # Parts of one object have its label and its group.
        group = shape.get("group_id")
        key = number if group is None else (label, str(group))
        if key in groups:
            groups[key].add(found)
            account.joined += 1
        else:
            groups[key] = found
    return list(groups.values())


def _object(
    shape: dict[str, Any], kind: str, size: tuple[int, int], classes: tuple[str, ...] | None
) -> LabelledObject:
    label, points = shape.get("label"), shape.get("points")
    if not isinstance(label, str) or not label.strip():
        raise ValueError("has no label")
    if classes and label not in classes:
        raise ValueError(f"its label {label!r} is not listed")
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
        return LabelledObject(label, _box_of_mask(mask), mask=mask)
    outline = [rounded(v for point in points or () for v in point)] if kind in AS_POLYGON else []
    return LabelledObject(label, box_of(*corners), outline)


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
