"""Rules of what annotations say beside boxes and masks: their ids, what they refer to, crowds."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, repeated
from resnext_backbones.data.rules.lists import WHOLE, as_whole, shown_value
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule


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


REFERENCES = (
    Rule(
        "image_id not listed", "annotation", _not_listed("image"),
        "has an image_id that is not listed", "list the image, or leave out its annotations",
        Outcome.REFUSED, shown=shown_value("annotation", "image_id"),
    ),
    Rule(
        "image_id as 1.0", "annotation", _reference_as_float("image_id"),
        "has its image_id as a fraction", WHOLE, Outcome.FILLED,
        mend=as_whole("annotation", "image_id"),
    ),
    Rule(
        "category_id not listed", "annotation", _not_listed("category"),
        "has a category_id that is not listed", "list the category, or leave out its annotations",
        Outcome.REFUSED, shown=shown_value("annotation", "category_id"),
    ),
    Rule(
        "category_id as 1.0", "annotation", _reference_as_float("category_id"),
        "has its category_id as a fraction", WHOLE, Outcome.FILLED,
        mend=as_whole("annotation", "category_id"),
    ),
    Rule(
        "no annotation id", "annotation", _no_annotation_id, "has no id",
        "number annotations from 1", Outcome.REFUSED,
    ),
    Rule(
        "annotation id", "annotation", _odd_annotation_ids,
        "has no id of its own from 1 on, which COCO's evaluation needs",
        "all were numbered from 1", Outcome.FILLED, shown=shown_value("annotation", "id"),
        mend=_number,
    ),
    Rule(
        "iscrowd of another kind", "annotation", _odd_crowd, "has an iscrowd other than 0 and 1",
        "write 1 for a group that is not counted, else 0", Outcome.REFUSED,
        shown=shown_value("annotation", "iscrowd"),
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
        is_usual=True,
    ),
    Rule(
        "category without annotations", "category", _without_objects("category", "category"),
        "has no annotation", "nothing is learned of it, or measured", Outcome.COUNTED,
        shown=shown_value("category", "name"), is_usual=True,
    ),
)  # fmt: skip
