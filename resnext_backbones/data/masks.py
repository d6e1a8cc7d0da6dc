"""Masks of annotations, polygons and run lengths, are looked at without drawing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as pycocotools_mask

from resnext_backbones.data.run_lengths import decode_counts

CHUNK = 20_000
"""So many annotations are looked at together."""

LEAST = 6
"""Numbers of a polygon of three points."""

MOST_PIXELS = 2**32 - 1
"""pycocotools counts runs in 32 bits."""

NONE, POLYGONS, RUNS, TEXT, FLAT, WRONG = range(6)
"""What a mask is written as: nothing, polygons, run lengths, text, numbers in one list, or else."""

SEEN = np.dtype(
    [
        ("kind", np.int8),  # of NONE to WRONG
        ("odd", np.bool_),  # a polygon has an odd number of coordinates
        ("short", np.bool_),  # a polygon has fewer than three points
        ("parts", np.int64),  # polygons of three points and more
        # Left, top, right and bottom of all polygons, or of the runs that are set; NaN where there
        # are none, or runs do not add up to their size.
        ("bounds", np.float64, 4),
        ("area", np.float64),  # in pixels: of the polygons, or of the runs that are set; else NaN
        ("size", np.float64, 2),  # height and width that run lengths say; NaN where they say none
        ("total", np.float64),  # the sum of run lengths; NaN where they cannot be read
    ]
)
"""A mask of an annotation is described by these fields."""

Step = Callable[[int, int], None]
"""Is told how many annotations were looked at, and of how many."""


def read_masks(found: Sequence[Any], step: Step) -> NDArray[np.void]:
    """Returns what is `SEEN` in masks as they stand in a file; `step` is told how many were looked
    at, of how many.
    """
    seen = np.zeros(len(found), SEEN)
    for name in ("bounds", "area", "size", "total"):
        seen[name] = np.nan
    for start in range(0, len(found), CHUNK):
        part = found[start : start + CHUNK]
        kinds = seen["kind"][start : start + len(part)]
        kinds[:] = [_kind(value) for value in part]
        for kind, read in ((POLYGONS, _read_polygons), (RUNS, _read_runs)):
            if len(rows := start + np.flatnonzero(kinds == kind)):
                read(seen, rows, [found[row] for row in rows])
        step(start + len(part), len(found))
    return seen


def _kind(value: Any) -> int:
    if value is None or value == [] or value == {}:
        return NONE
    if type(value) is list:
        first = type(value[0])
        if first is list:
            return POLYGONS
        return FLAT if first in (int, float) else WRONG
    if type(value) is dict:
        return RUNS
    return TEXT if type(value) is str else WRONG


def _read_polygons(seen: NDArray[np.void], rows: NDArray[np.int64], found: Sequence[Any]) -> None:
    flat = _flat(found)
    if flat is None:  # one of them is to blame
        good = np.array([_flat([value]) is not None for value in found])
        seen["kind"][rows[~good]] = WRONG
        rows, found = rows[good], [found[i] for i in np.flatnonzero(good)]
        flat = _flat(found)
        assert flat is not None
    parts = list(chain.from_iterable(found))
    owner = np.repeat(rows, list(map(len, found)))  # the row of each polygon
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    seen["odd"][owner[lengths % 2 == 1]] = True
    seen["short"][owner[lengths < LEAST]] = True
    whole = (lengths % 2 == 0) & (lengths >= LEAST)
    if not whole.any():
        return
    points = flat[np.repeat(whole, lengths)].reshape(-1, 2)
    owner, counts = owner[whole], lengths[whole] // 2
    ends = np.cumsum(counts)
    starts = ends - counts
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    with np.errstate(all="ignore"):  # what is not finite gives no area, and is refused
        x, y = points.T
        areas = np.abs(np.add.reduceat(x * y[following] - x[following] * y, starts)) / 2
    # Polygons of one annotation stand side by side.
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    has = owner[first]
    seen["parts"][has] = np.diff(first, append=len(owner))
    seen["area"][has] = np.add.reduceat(areas, first)
    begin = starts[first]
    seen["bounds"][has, :2] = np.minimum.reduceat(points, begin)
    seen["bounds"][has, 2:] = np.maximum.reduceat(points, begin)


def _flat(found: Sequence[Any]) -> NDArray[np.float64] | None:
    """Returns the coordinates of all polygons; None where something is no list of numbers, or is a
    number that floating point does not hold.
    """
    parts = list(chain.from_iterable(found))
    if set(map(type, parts)) - {list}:
        return None
    if set(map(type, chain.from_iterable(parts))) - {int, float}:
        return None
    try:
        return np.fromiter(chain.from_iterable(parts), np.float64, sum(map(len, parts)))
    except OverflowError:
        return None


def _read_runs(
    seen: NDArray[np.void], rows: NDArray[np.int64], found: Sequence[dict[str, Any]]
) -> None:
    for row, size in zip(rows, (value.get("size") for value in found), strict=True):
        if type(size) is list and len(size) == 2 and set(map(type, size)) <= {int}:
            seen["size"][row] = [min(max(side, -1), 2**53) for side in size]
    totals, areas = decode_counts([value.get("counts") for value in found])
    seen["total"][rows], seen["area"][rows] = totals, areas
    whole = (totals == seen["size"][rows].prod(1)) & (totals <= MOST_PIXELS)
    for i in np.flatnonzero(whole & (areas > 0)):
        height, width = map(int, seen["size"][rows[i]])
        runs = found[i]
        if type(runs["counts"]) is list:
            runs = pycocotools_mask.frPyObjects(runs, height, width)
        x, y, w, h = pycocotools_mask.toBbox(runs)
        seen["bounds"][rows[i]] = x, y, x + w, y + h
