"""Rules of keypoints, where annotations have some."""

from __future__ import annotations

from types import NoneType
from typing import Any

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, numbers
from resnext_backbones.data.rules.rule import FILLED, REFUSED, TAKEN_OUT, Rows, Rule

VISIBLE = (0, 1, 2)
"""Not labelled; labelled and hidden; labelled and visible."""


def _wanted(columns: Columns) -> list[int | None]:
    """Returns how many keypoints each category names, None where it names none; the last one is of
    annotations without a category.
    """
    named = columns.values("category", "keypoints")
    return [*(len(names) if type(names) is list else None for names in named), None]


def _is_good(points: Any, count: int | None) -> bool:
    if type(points) is not list or len(points) % 3 or count not in (None, len(points) // 3):
        return False
    found = numbers(points)
    return bool(np.isfinite(found).all() and np.isin(found[2::3], VISIBLE).all())


def _odd(columns: Columns) -> Flags:
    flags = ~columns.typed("annotation", "keypoints", NoneType)
    if flags.any():
        of, wanted = columns.place_of["category"], _wanted(columns)
        for row in np.flatnonzero(flags):
            flags[row] = not _is_good(columns.annotations[row]["keypoints"], wanted[of[row]])
    return flags


def _shown(columns: Columns, row: int) -> str:
    points = columns.annotations[row]["keypoints"]
    count = _wanted(columns)[columns.place_of["category"][row]]
    much = f"{len(points)} values" if type(points) is list else f"{points!r:.40}"
    return much + (f", and its category names {count} points" if count is not None else "")


def _take_out(columns: Columns, rows: Rows) -> None:
    for row in rows:
        for key in ("keypoints", "num_keypoints"):
            columns.annotations[row].pop(key, None)


def _uncounted(columns: Columns) -> Flags:
    flags = columns.typed("annotation", "keypoints", list) & ~_odd(columns)
    for row in np.flatnonzero(flags):
        flags[row] = "num_keypoints" not in columns.annotations[row]
    return flags


def _count(columns: Columns, rows: Rows) -> None:
    for row in rows:
        annotation = columns.annotations[row]
        annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])


KEYPOINTS = (
    Rule("keypoints", "annotation", _odd,
         "has keypoints that are not x, y and visibility (0, 1 or 2) for each of its category's",
         "give three numbers for each, zeros where a point is not labelled", REFUSED, "keypoints",
         TAKEN_OUT, _shown, _take_out),
    Rule("num_keypoints", "annotation", _uncounted, "has keypoints and no num_keypoints",
         "those that are labelled were counted", FILLED, mend=_count),
)  # fmt: skip
