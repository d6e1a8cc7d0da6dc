"""Masks of annotations, polygons and run lengths, are looked at without drawing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


Step = Callable[[int, int], None]
"""Is told how many annotations were looked at, and of how many."""


@dataclass
class Masks:
    """Says what was seen in the masks of N annotations.

    Attributes:
        kind: (N,), of NONE to WRONG.
        odd: (N,), a polygon has an odd number of coordinates.
        short: (N,), a polygon has fewer than three points.
        parts: (N,), polygons of three points and more.
        bounds: (N, 4), left, top, right and bottom of all polygons, or of the runs that are set;
            NaN where there are none, or runs do not add up to their size.
        area: (N,), in pixels: of the polygons, or of the runs that are set; NaN for neither.
        size: (N, 2), height and width that run lengths say; NaN where they say none.
        total: (N,), the sum of run lengths; NaN where they cannot be read.
    """

    kind: NDArray[np.int8]
    odd: NDArray[np.bool_]
    short: NDArray[np.bool_]
    parts: NDArray[np.int64]
    bounds: NDArray[np.float64]
    area: NDArray[np.float64]
    size: NDArray[np.float64]
    total: NDArray[np.float64]

    @classmethod
    def empty(cls, count: int) -> Masks:
        """Returns columns of `count` annotations of which nothing is known."""

        def unknown(*shape: int) -> NDArray[np.float64]:
            return np.full((count, *shape), np.nan)

        return cls(
            kind=np.zeros(count, np.int8),
            odd=np.zeros(count, bool),
            short=np.zeros(count, bool),
            parts=np.zeros(count, np.int64),
            bounds=unknown(4),
            area=unknown(),
            size=unknown(2),
            total=unknown(),
        )


def unsaid(done: int, total: int) -> None:
    """Tells nobody."""
    del done, total


def read_masks(found: Sequence[Any], step: Step = unsaid) -> Masks:
    """Returns what is seen in masks as they stand in a file; `step` is told how many were looked
    at, of how many.
    """
    masks = Masks.empty(len(found))
    for start in range(0, len(found), CHUNK):
        part = found[start : start + CHUNK]
        masks.kind[start : start + len(part)] = [_kind(value) for value in part]
        rows = np.arange(start, start + len(part))
        for kind, read in ((POLYGONS, _read_polygons), (RUNS, _read_runs)):
            chosen = rows[masks.kind[rows] == kind]
            if len(chosen):
                read(masks, chosen, [found[row] for row in chosen])
        step(start + len(part), len(found))
    return masks


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


def _read_polygons(masks: Masks, rows: NDArray[np.int64], found: Sequence[Any]) -> None:
    flat = _flat(found)
    if flat is None:  # one of them is to blame
        good = np.array([_flat([value]) is not None for value in found])
        masks.kind[rows[~good]] = WRONG
        rows, found = rows[good], [found[i] for i in np.flatnonzero(good)]
        flat = _flat(found)
        assert flat is not None
    counts = np.fromiter(map(len, found), np.int64, len(found))
    parts = list(chain.from_iterable(found))
    owner = np.repeat(np.arange(len(found)), counts)
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    masks.odd[rows[owner[lengths % 2 == 1]]] = True
    masks.short[rows[owner[lengths < LEAST]]] = True
    whole = (lengths % 2 == 0) & (lengths >= LEAST)
    if not whole.any():
        return
    if not whole.all():
        flat = flat[np.repeat(whole, lengths)]
        owner, lengths = owner[whole], lengths[whole]
    points = flat.reshape(-1, 2)
    ends = np.cumsum(lengths // 2)
    starts = ends - lengths // 2
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    with np.errstate(all="ignore"):  # what is not finite gives no area, and is refused
        x, y = points[:, 0], points[:, 1]
        cross = x * y[following] - x[following] * y
        areas = np.abs(np.add.reduceat(cross, starts)) / 2
    masks.parts[rows] = np.bincount(owner, minlength=len(rows))
    area = np.bincount(owner, areas, len(rows))
    has = masks.parts[rows] > 0
    masks.area[rows[has]] = area[has]
    first = np.searchsorted(owner, np.flatnonzero(has))
    low = np.minimum.reduceat(np.minimum.reduceat(points, starts), first)
    high = np.maximum.reduceat(np.maximum.reduceat(points, starts), first)
    masks.bounds[rows[has]] = np.concatenate([low, high], 1)


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


def _read_runs(masks: Masks, rows: NDArray[np.int64], found: Sequence[dict[str, Any]]) -> None:
    sizes = [value.get("size") for value in found]
    for row, size in zip(rows, sizes, strict=True):
        if type(size) is list and len(size) == 2 and set(map(type, size)) <= {int}:
            masks.size[row] = [min(max(side, -1), 2**53) for side in size]
    counts = [value.get("counts") for value in found]
    totals, areas = decode_counts(counts)
    masks.total[rows], masks.area[rows] = totals, areas
    whole = (totals == masks.size[rows].prod(1)) & (totals <= MOST_PIXELS)
    for i in np.flatnonzero(whole & (areas > 0)):
        height, width = map(int, masks.size[rows[i]])
        runs = found[i]
        if type(runs["counts"]) is list:
            runs = pycocotools_mask.frPyObjects(runs, height, width)
        x, y, w, h = pycocotools_mask.toBbox(runs)
        masks.bounds[rows[i]] = x, y, x + w, y + h
