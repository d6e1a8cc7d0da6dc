"""Rules of categories and images: their ids, names and sizes."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from resnext_backbones.data.columns import NO_ID, Columns, Flags, repeated
from resnext_backbones.data.rules.rule import COUNTED, FILLED, LEFT_OUT, REFUSED, Rows, Rule

ROOTS = (None, "", "none", "None")
"""Exporters write one of these as the supercategory of a category that is above others."""


def _no_id(kind: str) -> Callable[[Columns], Flags]:
    return lambda columns: columns.ids[kind] == NO_ID


def _doubled_ids(kind: str) -> Callable[[Columns], Flags]:
    return lambda columns: repeated(columns.ids[kind].tolist()) & ~_no_id(kind)(columns)


def as_whole(kind: str, *keys: str) -> Callable[[Columns, Rows], None]:
    """Returns what makes values such as 3.0 whole numbers."""

    def mend(columns: Columns, rows: Rows) -> None:
        for row in rows:
            thing = columns.of(kind)[row]
            thing.update({key: int(thing[key]) for key in keys if type(thing.get(key)) is float})

    return mend


def fraction(kind: str, key: str, name: str) -> Rule:
    """Returns the rule of ids, or references to them, that are written as 3.0."""
    return Rule(
        f"{name} as 1.0", kind, lambda c: c.typed(kind, key, float),
        f"has its {key} as a fraction", WHOLE, FILLED, shown=key, mend=as_whole(kind, key),
    )  # fmt: skip


def _is_text(value: Any) -> bool:
    """Tells whether a value is text that can be printed and be a file's name."""
    if type(value) is not str or not value.strip() or "\0" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value


def _no_text(kind: str, key: str) -> Callable[[Columns], Flags]:
    return lambda columns: ~columns.flags(kind, key, _is_text)


def plain_name(name: str) -> str:
    """Returns a name as it is read: with single spaces, none at its ends, and accents in one
    character with their letters (NFC). Others look the same and are not equal.
    """
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _plain_names(columns: Columns, key: str) -> Iterator[str | None]:
    """Yields the plain names of categories, or of those above them; None is no text."""
    for name in columns.values("category", key):
        yield plain_name(str(name)) if _is_text(name) else None


def _odd_names(columns: Columns) -> Flags:
    return columns.flags("category", "name", lambda n: _is_text(n) and plain_name(n) != n)


def _clean_names(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.categories[row]["name"] = plain_name(columns.categories[row]["name"])


def _unused_roots(columns: Columns) -> Flags:
    """Tells which categories are above others, have the name of another one, and no object."""
    names = list(_plain_names(columns, "name"))
    counts = Counter(name for name in names if name is not None)
    above = {name for name in _plain_names(columns, "supercategory") if name is not None}
    doubled = {name for name, count in counts.items() if count > 1 and name in above}
    used = set(columns.place_of["category"].tolist())
    roots = [
        name in doubled and place not in used and category.get("supercategory") in ROOTS
        for place, (name, category) in enumerate(zip(names, columns.categories, strict=True))
    ]  # fmt: skip
    return np.array(roots, bool)


def _doubled_names(columns: Columns) -> Flags:
    return _names_twice(columns, lambda name: name)


def _names_by_case(columns: Columns) -> Flags:
    return _names_twice(columns, str.casefold) & ~_doubled_names(columns)


def _names_twice(columns: Columns, key: Callable[[str], str]) -> Flags:
    """Tells whose name, by its key, a category before has, roots that are left out aside."""
    names = zip(_plain_names(columns, "name"), _unused_roots(columns), strict=True)
    return repeated(
        place if name is None or is_root else key(name)
        for place, (name, is_root) in enumerate(names)
    )


def _same_images(columns: Columns) -> Flags:
    """Tells which images are listed again, with everything as before."""
    return repeated(repr(sorted(image.items(), key=str)) for image in columns.images)


def _file_under_ids(columns: Columns, *, other_objects: bool) -> Rows:
    """Returns the images whose file an image before has, with or without the same objects."""
    first: dict[str, int] = {}
    again: dict[int, int] = {}
    same = _same_images(columns)
    for row, name in enumerate(columns.values("image", "file_name")):
        if type(name) is str and not same[row]:
            before = first.setdefault(posixpath.normpath(name), row)
            if before != row:
                again[row] = before
    if not again:
        return np.zeros(0, np.int64)
    objects: dict[int, list[str]] = defaultdict(list)
    wanted = {*again, *again.values()}
    rows = columns.place_of["image"].tolist()
    for row, annotation in zip(rows, columns.annotations, strict=True):
        if row in wanted:
            objects[row].append(repr((annotation.get("category_id"), annotation.get("bbox"))))
    differ = [sorted(objects[row]) != sorted(objects[before]) for row, before in again.items()]
    return np.array(list(again), np.int64)[np.array(differ) == other_objects]


def _no_size(columns: Columns) -> Flags:
    return np.any(np.isnan(columns.sizes), axis=1)


def _shown_size(columns: Columns, row: int) -> str:
    return " x ".join(f"{columns.images[row].get(side)!r:.30}" for side in ("width", "height"))


def _size_as_float(columns: Columns) -> Flags:
    width, height = (columns.typed("image", side, float) for side in ("width", "height"))
    return (width | height) & ~_no_size(columns)


WHOLE = "whole numbers were taken for them"

LISTS = (
    Rule("category id", "category", _no_id("category"),
         "has no whole number below 2**53 as its id",
         "number them, and refer to these numbers", REFUSED, shown="id"),
    fraction("category", "id", "category id"),
    Rule("category id twice", "category", _doubled_ids("category"),
         "has the id of a category before it", "give each an id of its own", REFUSED, shown="name"),
    Rule("category name", "category", _no_text("category", "name"), "has no name in text",
         "give it its name", REFUSED, shown="name"),
    Rule("root category of the same name", "category", _unused_roots,
         "is above others, has the name of another category, and no annotation is of it",
         "it was left out", LEFT_OUT, shown="name"),
    Rule("category name twice", "category", _doubled_names, "has the name of a category before it",
         "classes are told apart by their names, so give each name once", REFUSED, shown="name"),
    Rule("category name by case", "category", _names_by_case,
         "has the name of a category before it but for upper and lower case",
         "they are two classes: give them one id if they are one", COUNTED, shown="name"),
    Rule("category name with spaces", "category", _odd_names,
         "has a name with spaces at its ends, or characters that look like others",
         "the plain ones were taken", FILLED, shown="name", mend=_clean_names),
    Rule("image id", "image", _no_id("image"), "has no whole number below 2**53 as its id",
         "number them, and refer to these numbers, as results do", REFUSED, shown="id"),
    fraction("image", "id", "image id"),
    Rule("image listed twice", "image", _same_images, "is listed again, with nothing else",
         "the first one was kept", LEFT_OUT),
    Rule("image id twice", "image", lambda c: _doubled_ids("image")(c) & ~_same_images(c),
         "has the id of an image before it", "give each an id of its own", REFUSED,
         shown="file_name"),
    Rule("file_name", "image", _no_text("image", "file_name"), "has no file_name in text",
         "name its file in the folder of images", REFUSED, shown="file_name"),
    Rule("width and height", "image", _no_size, "has no width and height in pixels",
         "give them as whole numbers", REFUSED, shown=_shown_size),
    Rule("width and height as 640.0", "image", _size_as_float, "has its size as fractions", WHOLE,
         FILLED, mend=as_whole("image", "width", "height")),
    Rule("file under several ids, other objects", "image",
         lambda c: _file_under_ids(c, other_objects=True),
         "has the file of an image before it, and other annotations",
         "the objects of one are background in the other: list each file once, with all of them",
         REFUSED, shown="file_name"),
    Rule("file under several ids", "image", lambda c: _file_under_ids(c, other_objects=False),
         "has the file of an image before it, and the same annotations",
         "it counts as often as it is listed", COUNTED, shown="file_name"),
)  # fmt: skip
