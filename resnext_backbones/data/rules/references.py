"""Rules of what annotations say beside boxes and masks: their ids, what they refer to, crowds."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, repeated
from resnext_backbones.data.rules.lists import fraction
from resnext_backbones.data.rules.rule import COUNTED, FILLED, REFUSED, Rows, Rule


def _no_annotation_id(columns: Columns) -> Flags:
    return columns.typed("annotation", "id", NoneType)


def _odd_annotation_ids(columns: Columns) -> Flags:
    ids, as_floats = columns.ids["annotation"], columns.typed("annotation", "id", float)
    return ((ids < 1) | as_floats | repeated(ids.tolist())) & ~_no_annotation_id(columns)


def _number(columns: Columns, rows: Rows) -> None:  # noqa: ARG001  # ids must differ from all
    for number, annotation in enumerate(columns.annotations, 1):
        annotation["id"] = number


def _without_objects(kind: str) -> Callable[[Columns], Flags]:
    def find(columns: Columns) -> Flags:
        flags = np.full(len(columns.of(kind)), bool(columns.annotations))
        places = columns.place_of[kind]
        flags[places[places >= 0]] = False
        return flags

    return find


def _odd_crowd(columns: Columns) -> Flags:
    return columns.flags("annotation", "iscrowd", lambda value: value not in (0, 1, None))


def _unsaid_crowd(columns: Columns) -> Flags:
    plain = columns.typed("annotation", "iscrowd", int)
    return ~plain & ~_odd_crowd(columns)


def _fill_crowd(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.annotations[row]["iscrowd"] = int(columns.annotations[row].get("iscrowd") or 0)


REFERENCES = (
    Rule("image_id not listed", "annotation", lambda c: c.place_of["image"] < 0,
         "has an image_id that is not listed", "list the image, or leave out its annotations",
         REFUSED, shown="image_id"),
    fraction("annotation", "image_id", "image_id"),
    Rule("category_id not listed", "annotation", lambda c: c.place_of["category"] < 0,
         "has a category_id that is not listed", "list the category, or leave out its annotations",
         REFUSED, shown="category_id"),
    fraction("annotation", "category_id", "category_id"),
    Rule("no annotation id", "annotation", _no_annotation_id, "has no id",
         "number annotations from 1", REFUSED),
    Rule("annotation id", "annotation", _odd_annotation_ids,
         "has no id of its own from 1 on, which COCO's evaluation needs",
         "all were numbered from 1", FILLED, shown="id", mend=_number),
    Rule("iscrowd of another kind", "annotation", _odd_crowd, "has an iscrowd other than 0 and 1",
         "write 1 for a group that is not counted, else 0", REFUSED, shown="iscrowd"),
    Rule("iscrowd", "annotation", _unsaid_crowd, "has no iscrowd of 0 or 1",
         "0 was taken where nothing is said", FILLED, mend=_fill_crowd),
    Rule("ignore", "annotation", lambda c: c.flags("annotation", "ignore", bool),
         "has `ignore`, which tools read in different ways",
         "write iscrowd 1 for what is not to be counted, and leave `ignore` out", REFUSED),
    Rule("image without annotations", "image", _without_objects("image"), "has no annotation",
         "networks see it as background, or not at all", COUNTED, is_usual=True),
    Rule("category without annotations", "category", _without_objects("category"),
         "has no annotation", "nothing is learned of it, or measured", COUNTED, shown="name",
         is_usual=True),
)  # fmt: skip
