"""Rules of categories and images: their ids, names and sizes."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from resnext_backbones.data.columns import NO_ID, Columns, Flags, repeated
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule

ROOTS = (None, "", "none", "None")
"""Exporters write one of these as the supercategory of a category that is above others."""


def shown_value(kind: str, key: str) -> Any:
    return lambda columns, row: f"{columns.of(kind)[row].get(key)!r:.60}"


def _no_id(kind: str) -> Any:
    return lambda columns: getattr(columns, f"{kind}_ids") == NO_ID


def _as_floats(kind: str) -> Any:
    return lambda columns: np.array([type(x.get("id")) is float for x in columns.of(kind)], bool)


def _is_text(value: Any) -> bool:
    """Tells whether a value is text that can be printed and be a file's name."""
    if type(value) is not str or not value.strip() or "\0" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value


def plain_name(name: str) -> str:
    """Returns a name as it is read: with single spaces, none at its ends, and accents in one
    character with their letters (NFC). Others look the same and are not equal.
    """
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _odd_names(columns: Columns) -> Flags:
    return np.array([_is_text(name) and plain_name(name) != name for name in columns.names], bool)


def _clean_names(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.categories[row]["name"] = plain_name(columns.categories[row]["name"])


def _no_text(kind: str, key: str) -> Any:
    return lambda columns: np.array([not _is_text(x.get(key)) for x in columns.of(kind)], bool)


def _doubled_ids(kind: str) -> Any:
    def find(columns: Columns) -> Flags:
        ids = getattr(columns, f"{kind}_ids")
        return repeated(ids.tolist()) & (ids != NO_ID)

    return find


def as_whole(kind: str, *keys: str) -> Any:
    def mend(columns: Columns, rows: Rows) -> None:
        for row in rows:
            thing = columns.of(kind)[row]
            thing.update({key: int(thing[key]) for key in keys if type(thing.get(key)) is float})

    return mend


def _unused_roots(columns: Columns) -> Flags:
    """Tells which categories are above others, have the name of another one, and no object."""
    names = columns.names
    counts = Counter(filter(_is_text, names))
    doubled = {name for name, count in counts.items() if count > 1}
    if not doubled:
        return np.zeros(len(names), bool)
    above = {c["supercategory"] for c in columns.categories if _is_text(c.get("supercategory"))}
    used = np.zeros(len(names), bool)
    used[columns.category_of[columns.category_of >= 0]] = True
    return (
        np.array(
            [
                _is_text(name)
                and name in doubled & above
                and category.get("supercategory") in ROOTS
                for name, category in zip(names, columns.categories, strict=True)
            ],
            bool,
        )
        & ~used
    )


def _doubled_names(columns: Columns) -> Flags:
    names = [
        plain_name(name) if _is_text(name) and not root else index
        for index, (name, root) in enumerate(
            zip(columns.names, _unused_roots(columns), strict=True)
        )
    ]
    return repeated(names)


def _names_by_case(columns: Columns) -> Flags:
    names = [
        plain_name(name).casefold() if _is_text(name) else index
        for index, name in enumerate(columns.names)
    ]
    return repeated(names) & ~_doubled_names(columns) & ~_unused_roots(columns)


def _same_images(columns: Columns) -> Flags:
    """Tells which images are listed again, with everything as before."""
    return repeated(repr(sorted(image.items(), key=str)) for image in columns.images)


def _doubled_images(columns: Columns) -> Flags:
    return _doubled_ids("image")(columns) & ~_same_images(columns)


def _file_under_ids(columns: Columns, *, other_objects: bool) -> Rows:
    """Returns the images whose file an image before has, with or without the same objects."""
    first: dict[str, int] = {}
    again: dict[int, int] = {}
    same = _same_images(columns)
    for row, image in enumerate(columns.images):
        name = image.get("file_name")
        if type(name) is str and not same[row]:
            before = first.setdefault(posixpath.normpath(name), row)
            if before != row:
                again[row] = before
    if not again:
        return np.zeros(0, np.int64)
    objects: dict[int, list[str]] = defaultdict(list)
    wanted = {*again, *again.values()}
    for annotation, row in zip(columns.annotations, columns.image_of.tolist(), strict=True):
        if row in wanted:
            objects[row].append(repr((annotation.get("category_id"), annotation.get("bbox"))))
    differ = [sorted(objects[row]) != sorted(objects[before]) for row, before in again.items()]
    return np.array(list(again), np.int64)[np.array(differ) == other_objects]


def _no_size(columns: Columns) -> Flags:
    return np.any(np.isnan(columns.sizes), axis=1)


def _size_as_float(columns: Columns) -> Flags:
    kinds = [
        float in (type(image.get("width")), type(image.get("height"))) for image in columns.images
    ]
    return np.array(kinds, bool) & ~_no_size(columns)


WHOLE = "whole numbers were taken for them"

LISTS = (
    Rule(
        "category id", "category", _no_id("category"), "has no whole number below 2**53 as its id",
        "number them, and refer to these numbers", Outcome.REFUSED,
        shown=shown_value("category", "id"),
    ),
    Rule(
        "category id as 1.0", "category", _as_floats("category"), "has its id as a fraction",
        WHOLE, Outcome.FILLED, shown=shown_value("category", "id"), mend=as_whole("category", "id"),
    ),
    Rule(
        "category id twice", "category", _doubled_ids("category"),
        "has the id of a category before it", "give each an id of its own", Outcome.REFUSED,
        shown=shown_value("category", "name"),
    ),
    Rule(
        "category name", "category", _no_text("category", "name"), "has no name in text",
        "give it its name", Outcome.REFUSED, shown=shown_value("category", "name"),
    ),
    Rule(
        "root category of the same name", "category", _unused_roots,
        "is above others, has the name of another category, and no annotation is of it",
        "it was left out", Outcome.LEFT_OUT, shown=shown_value("category", "name"),
    ),
    Rule(
        "category name twice", "category", _doubled_names,
        "has the name of a category before it",
        "classes are told apart by their names, so give each name once", Outcome.REFUSED,
        shown=shown_value("category", "name"),
    ),
    Rule(
        "category name by case", "category", _names_by_case,
        "has the name of a category before it but for upper and lower case",
        "they are two classes: give them one id if they are one", Outcome.COUNTED,
        shown=shown_value("category", "name"),
    ),
    Rule(
        "category name with spaces", "category", _odd_names,
        "has a name with spaces at its ends, or characters that look like others",
        "the plain ones were taken", Outcome.FILLED, shown=shown_value("category", "name"),
        mend=_clean_names,
    ),
    Rule(
        "image id", "image", _no_id("image"), "has no whole number below 2**53 as its id",
        "number them, and refer to these numbers, as results do",
        Outcome.REFUSED, shown=shown_value("image", "id"),
    ),
    Rule(
        "image id as 1.0", "image", _as_floats("image"), "has its id as a fraction", WHOLE,
        Outcome.FILLED, shown=shown_value("image", "id"), mend=as_whole("image", "id"),
    ),
    Rule(
        "image listed twice", "image", _same_images, "is listed again, with nothing else",
        "the first one was kept", Outcome.LEFT_OUT,
    ),
    Rule(
        "image id twice", "image", _doubled_images, "has the id of an image before it",
        "give each an id of its own", Outcome.REFUSED, shown=shown_value("image", "file_name"),
    ),
    Rule(
        "file_name", "image", _no_text("image", "file_name"), "has no file_name in text",
        "name its file in the folder of images", Outcome.REFUSED,
        shown=shown_value("image", "file_name"),
    ),
    Rule(
        "width and height", "image", _no_size, "has no width and height in pixels",
        "give them as whole numbers", Outcome.REFUSED,
        shown=lambda c, row: (
            f"{c.images[row].get('width')!r:.30} x {c.images[row].get('height')!r:.30}"
        ),
    ),
    Rule(
        "width and height as 640.0", "image", _size_as_float, "has its size as fractions", WHOLE,
        Outcome.FILLED, mend=as_whole("image", "width", "height"),
    ),
    Rule(
        "file under several ids, other objects", "image",
        lambda c: _file_under_ids(c, other_objects=True),
        "has the file of an image before it, and other annotations",
        "the objects of one are background in the other: list each file once, with all of them",
        Outcome.REFUSED, shown=shown_value("image", "file_name"),
    ),
    Rule(
        "file under several ids", "image", lambda c: _file_under_ids(c, other_objects=False),
        "has the file of an image before it, and the same annotations",
        "it counts as often as it is listed", Outcome.COUNTED,
        shown=shown_value("image", "file_name"),
    ),
)  # fmt: skip
