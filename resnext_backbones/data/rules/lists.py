"""Rules of the lists of a file: ids, names, and how they refer to each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from resnext_backbones.data.columns import NO_ID, Columns, Flags, repeated
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule

ROOTS = (None, "", "none", "None")
"""Exporters write one of these as the supercategory of a category that is above others."""


def _value(kind: str, key: str) -> Any:
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


def _no_text(kind: str, key: str) -> Any:
    return lambda columns: np.array([not _is_text(x.get(key)) for x in columns.of(kind)], bool)


def _doubled_ids(kind: str) -> Any:
    def find(columns: Columns) -> Flags:
        ids = getattr(columns, f"{kind}_ids")
        return repeated(ids.tolist()) & (ids != NO_ID)

    return find


def _as_whole(kind: str, *keys: str) -> Any:
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
        name if _is_text(name) and not root else index
        for index, (name, root) in enumerate(
            zip(columns.names, _unused_roots(columns), strict=True)
        )
    ]
    return repeated(names)


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
            before = first.setdefault(name, row)
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


def _no_annotation_id(columns: Columns) -> Flags:
    return np.array([a.get("id") is None for a in columns.annotations], bool)


def _odd_annotation_ids(columns: Columns) -> Flags:
    ids = columns.annotation_ids
    as_floats = np.array([type(a.get("id")) is float for a in columns.annotations], bool)
    odd = (ids < 1) | as_floats | repeated(ids.tolist())
    return odd & ~_no_annotation_id(columns)


def _number(columns: Columns, rows: Rows) -> None:  # noqa: ARG001
    for number, annotation in enumerate(columns.annotations, 1):
        annotation["id"] = number


def _not_listed(kind: str) -> Any:
    return lambda columns: getattr(columns, f"{kind}_of") < 0


def _reference_as_float(key: str) -> Any:
    return lambda columns: np.array([type(a.get(key)) is float for a in columns.annotations], bool)


def _no_size(columns: Columns) -> Flags:
    return np.any(np.isnan(columns.sizes), axis=1)


def _size_as_float(columns: Columns) -> Flags:
    kinds = [
        float in (type(image.get("width")), type(image.get("height"))) for image in columns.images
    ]
    return np.array(kinds, bool) & ~_no_size(columns)


def _without_objects(kind: str, total: str) -> Any:
    def find(columns: Columns) -> Flags:
        flags = np.ones(len(columns.of(total)), bool)
        places = getattr(columns, f"{kind}_of")
        flags[places[places >= 0]] = False
        return flags if len(columns.annotations) else np.zeros_like(flags)

    return find


def _odd_crowd(columns: Columns) -> Flags:
    values = [a.get("iscrowd") for a in columns.annotations]
    return np.array([value not in (0, 1, None) for value in values], bool)


def _unsaid_crowd(columns: Columns) -> Flags:
    values = [a.get("iscrowd") for a in columns.annotations]
    plain = np.array([type(value) is int for value in values], bool)
    return ~plain & ~_odd_crowd(columns)


def _fill_crowd(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.annotations[row]["iscrowd"] = int(columns.annotations[row].get("iscrowd") or 0)


def _ignored(columns: Columns) -> Flags:
    return np.array([bool(a.get("ignore")) for a in columns.annotations], bool)


IDS = "number from 0 or 1 on, and refer to these"
WHOLE = "whole numbers were taken for them"

LISTS = (
    Rule(
        "category id", "category", _no_id("category"), "has no whole number as its id",
        f"give categories ids that are whole numbers: {IDS}", Outcome.REFUSED,
        shown=_value("category", "id"),
    ),
    Rule(
        "category id as 1.0", "category", _as_floats("category"), "has its id as a fraction",
        WHOLE, Outcome.FILLED, shown=_value("category", "id"), mend=_as_whole("category", "id"),
    ),
    Rule(
        "category id twice", "category", _doubled_ids("category"),
        "has the id of a category before it", "give each an id of its own", Outcome.REFUSED,
        shown=_value("category", "name"),
    ),
    Rule(
        "category name", "category", _no_text("category", "name"), "has no name in text",
        "give it its name", Outcome.REFUSED, shown=_value("category", "name"),
    ),
    Rule(
        "root category of the same name", "category", _unused_roots,
        "is above others, has the name of another category, and no annotation is of it",
        "it was left out", Outcome.LEFT_OUT, shown=_value("category", "name"),
    ),
    Rule(
        "category name twice", "category", _doubled_names,
        "has the name of a category before it",
        "classes are told apart by their names, so give each name once", Outcome.REFUSED,
        shown=_value("category", "name"),
    ),
    Rule(
        "image id", "image", _no_id("image"), "has no whole number as its id",
        f"give images ids that are whole numbers, as results refer to them: {IDS}",
        Outcome.REFUSED, shown=_value("image", "id"),
    ),
    Rule(
        "image id as 1.0", "image", _as_floats("image"), "has its id as a fraction", WHOLE,
        Outcome.FILLED, shown=_value("image", "id"), mend=_as_whole("image", "id"),
    ),
    Rule(
        "image listed twice", "image", _same_images, "is listed again, with nothing else",
        "the first one was kept", Outcome.LEFT_OUT,
    ),
    Rule(
        "image id twice", "image", _doubled_images, "has the id of an image before it",
        "give each an id of its own", Outcome.REFUSED, shown=_value("image", "file_name"),
    ),
    Rule(
        "file_name", "image", _no_text("image", "file_name"), "has no file_name in text",
        "name its file in the folder of images", Outcome.REFUSED,
        shown=_value("image", "file_name"),
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
        Outcome.FILLED, mend=_as_whole("image", "width", "height"),
    ),
    Rule(
        "file under several ids, other objects", "image",
        lambda c: _file_under_ids(c, other_objects=True),
        "has the file of an image before it, and other annotations",
        "the objects of one are background in the other: list each file once, with all of them",
        Outcome.REFUSED, shown=_value("image", "file_name"),
    ),
    Rule(
        "file under several ids", "image", lambda c: _file_under_ids(c, other_objects=False),
        "has the file of an image before it, and the same annotations",
        "it counts as often as it is listed", Outcome.COUNTED,
        shown=_value("image", "file_name"),
    ),
    Rule(
        "image_id not listed", "annotation", _not_listed("image"),
        "has an image_id that is not listed", "list the image, or leave out its annotations",
        Outcome.REFUSED, shown=_value("annotation", "image_id"),
    ),
    Rule(
        "image_id as 1.0", "annotation", _reference_as_float("image_id"),
        "has its image_id as a fraction", WHOLE, Outcome.FILLED,
        mend=_as_whole("annotation", "image_id"),
    ),
    Rule(
        "category_id not listed", "annotation", _not_listed("category"),
        "has a category_id that is not listed", "list the category, or leave out its annotations",
        Outcome.REFUSED, shown=_value("annotation", "category_id"),
    ),
    Rule(
        "category_id as 1.0", "annotation", _reference_as_float("category_id"),
        "has its category_id as a fraction", WHOLE, Outcome.FILLED,
        mend=_as_whole("annotation", "category_id"),
    ),
    Rule(
        "no annotation id", "annotation", _no_annotation_id, "has no id",
        "number annotations from 1", Outcome.REFUSED,
    ),
    Rule(
        "annotation id", "annotation", _odd_annotation_ids,
        "has no id of its own from 1 on, which COCO's evaluation needs",
        "all were numbered from 1", Outcome.FILLED, shown=_value("annotation", "id"),
        mend=_number,
    ),
    Rule(
        "iscrowd of another kind", "annotation", _odd_crowd, "has an iscrowd other than 0 and 1",
        "write 1 for a group that is not counted, else 0", Outcome.REFUSED,
        shown=_value("annotation", "iscrowd"),
    ),
    Rule(
        "iscrowd", "annotation", _unsaid_crowd, "has no iscrowd of 0 or 1",
        "0 was taken where nothing is said", Outcome.FILLED, mend=_fill_crowd,
    ),
    Rule(
        "ignore", "annotation", _ignored, "has `ignore`, which tools read in different ways",
        "write iscrowd 1 for what is not to be counted, and leave `ignore` out", Outcome.REFUSED,
    ),
    Rule(
        "image without annotations", "image", _without_objects("image", "image"),
        "has no annotation", "networks see it as background, or not at all", Outcome.COUNTED,
    ),
    Rule(
        "category without annotations", "category", _without_objects("category", "category"),
        "has no annotation", "nothing is learned of it, or measured", Outcome.COUNTED,
        shown=_value("category", "name"),
    ),
)  # fmt: skip
