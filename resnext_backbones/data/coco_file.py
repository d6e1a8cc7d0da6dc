"""A file of annotations is read from JSON; one of another format is named in an InputError."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError
from resnext_backbones.garbage import without_collections
from resnext_backbones.other_files import what_else

Content = dict[str, Any]
"""An annotation file holds lists of `images`, `annotations` and `categories`, and more."""

LISTS = ("images", "annotations", "categories")

LOOKED_AT = 64
"""A file that is not JSON is told by so many of its first bytes."""

FROM = "resnext check-data --from {} writes COCO's format of such files"

OTHERS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda c: isinstance(c, dict) and "shapes" in c and "imagePath" in c,
        f"is LabelMe's format, a file for each image; {FROM.format('labelme')}",
    ),
    (
        lambda c: isinstance(c, dict) and ("_via_img_metadata" in c or "_via_settings" in c),
        "is a project of the VGG Image Annotator; export its annotations as COCO",
    ),
    (
        lambda c: isinstance(c, dict) and c.get("type") == "FeatureCollection",
        "is GeoJSON; convert its features to boxes in pixels, in COCO's format",
    ),
    (
        lambda c: bool(_first(c)) and {"image_id", "score"} <= _first(c).keys(),
        "is a list of detections, as COCO's server takes them, and not of annotations; name the "
        "file with the ground truth",
    ),
)
"""Other formats that come as JSON: how each is known, and what to do."""

KINDS: Mapping[str, str] = {
    "segments_info": "is COCO's panoptic format, where an annotation is a whole image with a "
    "PNG of its segments; take the file of instances (instances_*.json), or convert it",
    "caption": "has captions and no boxes; take the file of instances (instances_*.json)",
    "segm_file": "names a picture of segments (segm_file) for each image, as of stuff or panoptic "
    "segmentation; take the file of instances, or train on the pictures as masks",
}
"""Kinds of COCO's files whose annotations or images are of no detector, by a key of theirs."""


def read_content(path: Path, needed: Sequence[str] = LISTS) -> Content:
    """Returns what an annotation file holds, with the lists that are `needed`, as it is written
    there; lists that are not needed are empty where it has none. InputError: it cannot be read, or
    is of another format.
    """
    try:
        # Which would take longer than to make these millions of lists.
        with _reading(path) as file, without_collections():
            content = json.load(file)  # finds out UTF-16 and byte order marks by itself
    except (ValueError, RecursionError) as error:
        with _reading(path) as file:
            start = file.read(LOOKED_AT)
        said = what_else(start) or f"not JSON: {error}"
        if b"<annotation" in start:
            said = f"Pascal VOC's XML of an image; {FROM.format('voc')}"
        raise InputError(f"annotation file {path}: is {said}") from error
    if reason := _other_format(content, needed):
        raise InputError(f"annotation file {path}: {reason}")
    for key in LISTS:
        content.setdefault(key, [])
    return content


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file; InputError: it cannot be read."""
    with _reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """Opens a file; InputError: it cannot be read."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"annotation file {path}: cannot be read: {reason}") from error


def is_plain(path: Path) -> bool:
    """Tells whether every JSON reader takes a file's encoding: UTF-8 without a byte order mark."""
    with path.open("rb") as file:
        start = file.read(4)
    return bool(start) and start[0] < 0x80 and b"\0" not in start


def _other_format(content: Any, needed: Sequence[str]) -> str:
    """Returns what is wrong with the whole file, or "" where it is in COCO's format."""
    for is_other, reason in OTHERS:
        if is_other(content):
            return reason
    for key in LISTS:
        value = content.get(key) if isinstance(content, dict) else None
        if value is None and key in needed:
            return f"has no list {key!r}, so is not COCO's format"
        if value is None and key in (content or {}):
            return f"its {key!r} is null, and must be a list"
        if value is not None and not isinstance(value, list):
            return f"its {key!r} is no list, so is not COCO's format"
        for index, item in enumerate(value or ()):
            if not isinstance(item, dict):
                return f"{key}[{index}] is {item!r:.60}, and must be an object with its keys"
    return ""


def check_kind(path: Path, content: Content) -> None:
    """Raises InputError where a file of COCO's is of no detector: of panoptic segmentation, say."""
    listed = [content[name] or [{}] for name in ("annotations", "images")]
    for key, reason in KINDS.items():
        if any(key in items[0] for items in listed) and "bbox" not in listed[0][0]:
            raise InputError(f"annotation file {path}: {reason}")


def _first(content: Any) -> dict[str, Any]:
    """Returns the first of a list of objects, or nothing."""
    is_list = isinstance(content, list) and content and isinstance(content[0], dict)
    return content[0] if is_list else {}
