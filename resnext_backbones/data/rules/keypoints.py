"""Rules of keypoints, where annotations have some."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, numbers
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule

VISIBLE = (0, 1, 2)
"""Not labelled; labelled and hidden; labelled and visible."""


def _wanted(columns: Columns) -> list[int | None]:
    """Returns how many keypoints each category names; None where it names none."""
    named = [category.get("keypoints") for category in columns.categories]
    return [len(names) if type(names) is list else None for names in named]


def _is_good(points: Any, count: int | None) -> bool:
    if (
        type(points) is not list
        or len(points) % 3
        or (count is not None and len(points) != 3 * count)
    ):
        return False
    found = numbers(points)
    return bool(np.isfinite(found).all() and np.isin(found[2::3], VISIBLE).all())


def _odd(columns: Columns) -> Flags:
    found = [annotation.get("keypoints") for annotation in columns.annotations]
    flags = np.zeros(len(found), bool)
    has = [row for row, points in enumerate(found) if points is not None]
    wanted = [*_wanted(columns), None] if has else []
    for row in has:
        flags[row] = not _is_good(found[row], wanted[columns.category_of[row]])
    return flags


def _shown(columns: Columns, row: int) -> str:
    points, wanted = columns.annotations[row]["keypoints"], [*_wanted(columns), None]
    count = wanted[columns.category_of[row]]
    much = f"{len(points)} values" if type(points) is list else f"{points!r:.40}"
    return much + (f", and its category names {count} points" if count is not None else "")


def _uncounted(columns: Columns) -> Flags:
    counts = [
        "num_keypoints" not in annotation and type(annotation.get("keypoints")) is list
        for annotation in columns.annotations
    ]
    return np.array(counts, bool)


def _count(columns: Columns, rows: Rows) -> None:
    for row in rows:
        annotation = columns.annotations[row]
        annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])


KEYPOINTS = (
    Rule(
        "keypoints", "annotation", _odd,
        "has keypoints that are not x, y and visibility (0, 1 or 2) for each of its category's",
        "give three numbers for each, zeros where a point is not labelled", Outcome.REFUSED,
        shown=_shown,
    ),
    Rule(
        "num_keypoints", "annotation", _uncounted, "has keypoints and no num_keypoints",
        "those that are labelled were counted", Outcome.FILLED, mend=_count,
    ),
)  # fmt: skip
