"""Rules of masks: polygons and run lengths, as pycocotools draws them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from pycocotools import mask as pycocotools_mask

from resnext_backbones.data.columns import Columns, Flags
from resnext_backbones.data.masks import FLAT, LEAST, NONE, POLYGONS, RUNS, TEXT, WRONG
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule

SMALL = 4.0
"""Polygons with a smaller area, in pixels, are drawn to see whether they cover one."""


INSIDE = 0.5
"""A mask has at least this part of the rectangle around it in its box."""


def _shown(columns: Columns, row: int) -> str:
    return f"{columns.annotations[row].get('segmentation')!r:.80}"


def _of_kind(*kinds: int) -> Any:
    return lambda columns: np.isin(columns.masks.kind, kinds)


def _is(kind: int, columns: Columns) -> Flags:
    return columns.masks.kind == kind


def _odd_size(columns: Columns) -> Flags:
    size = columns.masks.size
    known = ~np.isnan(columns.own_sizes).any(1)
    return _is(RUNS, columns) & (size != columns.own_sizes).any(1) & known


def _sizes(columns: Columns, row: int) -> str:
    size = columns.annotations[row]["segmentation"].get("size")
    height, width = columns.own_sizes[row]
    return f"{size!r:.40}, of an image of [{height:.0f}, {width:.0f}]"


def _odd_runs(columns: Columns) -> Flags:
    masks = columns.masks
    total = masks.size.prod(1)
    return _is(RUNS, columns) & (masks.total != total) & ~np.isnan(total)


def _sum(columns: Columns, row: int) -> str:
    masks = columns.masks
    total, size = masks.total[row], masks.size[row]
    if np.isnan(total):
        return f"{columns.annotations[row]['segmentation'].get('counts')!r:.60}"
    return f"{total:.0f} of {size.prod():.0f}"


def _all_short(columns: Columns) -> Flags:
    return _is(POLYGONS, columns) & (columns.masks.parts == 0) & ~columns.masks.odd


def _some_short(columns: Columns) -> Flags:
    masks = columns.masks
    return _is(POLYGONS, columns) & masks.short & (masks.parts > 0) & ~masks.odd


def _drop_short(columns: Columns, rows: Rows) -> None:
    for row in rows:
        annotation = columns.annotations[row]
        annotation["segmentation"] = [p for p in annotation["segmentation"] if len(p) >= LEAST]


def _far(columns: Columns) -> Flags:
    """Tells which polygons reach beyond their image by more than its size; pycocotools takes
    memory for each pixel of their edges.
    """
    bounds, extent = columns.masks.bounds, columns.own_sizes[:, ::-1]
    inside = (bounds[:, :2] >= -extent).all(1) & (bounds[:, 2:] <= 2 * extent).all(1)
    known = ~np.isnan(extent).any(1)
    return _is(POLYGONS, columns) & (columns.masks.parts > 0) & known & ~inside


def _elsewhere(columns: Columns) -> Flags:
    """Tells which masks lie outside of their boxes by more than half of the rectangle around them,
    as run lengths row by row do, or polygons of the image in another size; a pixel does not count.
    """
    bounds, boxes = columns.masks.bounds, columns.boxes
    low, high = bounds[:, :2] - 1, bounds[:, 2:] + 1
    start, end = boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:] + 1
    with np.errstate(all="ignore"):  # numbers near the largest, and rows of NaN
        shared = (np.minimum(high, end) - np.maximum(low, start)).clip(min=0)
        inside = (shared / (high - low)).prod(1)
    return (inside < INSIDE) & ~_odd_size(columns)


def _mostly_elsewhere(columns: Columns) -> Flags:
    found = _elsewhere(columns)
    masks = (~np.isnan(columns.masks.bounds).any(1)).sum()
    return found if masks and found.sum() > masks / 2 else np.zeros(len(found), bool)


def _sometimes_elsewhere(columns: Columns) -> Flags:
    return _elsewhere(columns) & ~_mostly_elsewhere(columns)


def _bad(columns: Columns) -> Flags:
    """Tells which masks are refused by the rules before, and cannot be drawn."""
    kinds = _of_kind(NONE, TEXT, FLAT, WRONG)(columns)
    return (
        kinds | columns.masks.odd | _all_short(columns) | _far(columns) | _odd_size(columns)
        | _odd_runs(columns)
    )  # fmt: skip


def _covers_nothing(columns: Columns) -> Rows:
    """Returns the masks without a pixel; of polygons only small ones are drawn."""
    masks = columns.masks
    good = ~_bad(columns) & ~np.isnan(columns.own_sizes).any(1)
    empty = good & _is(RUNS, columns) & (masks.area == 0)
    for row in np.flatnonzero(good & _is(POLYGONS, columns) & (masks.area < SMALL)):
        height, width = map(int, columns.own_sizes[row])
        polygons = columns.annotations[row]["segmentation"]
        drawn = pycocotools_mask.frPyObjects(
            [p for p in polygons if len(p) >= LEAST], height, width
        )
        empty[row] = pycocotools_mask.area(pycocotools_mask.merge(drawn)) == 0
    return np.flatnonzero(empty)


def _drop(columns: Columns, rows: Rows) -> None:
    for row in rows:
        with contextlib.suppress(KeyError):
            del columns.annotations[row]["segmentation"]


def _rule(name: str, find: Any, says: str, so: str, shown: Any = _shown) -> Rule:
    """Returns a rule of masks that are refused where masks are used, and taken out elsewhere."""
    return Rule(
        name,
        "annotation",
        find,
        says,
        so,
        Outcome.REFUSED,
        "masks",
        Outcome.TAKEN_OUT,
        shown,
        _drop,
    )


NO_MASK = "a network with masks needs one for each object; boxes alone do without"

MASKS = (
    Rule(
        "segmentation", "annotation", _of_kind(NONE), "has no segmentation", NO_MASK,
        Outcome.REFUSED, needs="masks",
    ),
    _rule(
        "segmentation that is text", _of_kind(TEXT),
        "has text, as of a file's name, for its segmentation",
        "write the mask itself, as polygons or run lengths",
    ),
    _rule(
        "segmentation in one list", _of_kind(FLAT), "has numbers in one list for its segmentation",
        "polygons are lists of coordinates in a list: [[x, y, x, y, x, y]]",
    ),
    _rule(
        "segmentation of another kind", _of_kind(WRONG),
        "has a segmentation that is neither polygons nor run lengths",
        "give polygons as lists of numbers, or run lengths with their size",
    ),
    _rule(
        "odd number of coordinates", lambda c: c.masks.odd,
        "has a polygon with an odd number of coordinates", "a point is an x and a y",
    ),
    _rule(
        "polygon without area", _all_short, "has no polygon of three points",
        "pycocotools takes four numbers for a box; give a polygon",
    ),
    Rule(
        "polygon of two points", "annotation", _some_short,
        "has a polygon of fewer than three points beside others", "it was left out",
        Outcome.FILLED, shown=_shown, mend=_drop_short,
    ),
    _rule(
        "polygon far outside", _far, "has a polygon that is beyond its image by more than its size",
        "give it in the pixels of the image",
    ),
    _rule(
        "size of run lengths", _odd_size, "has run lengths of another size than its image",
        "the size is [height, width], that of the image", _sizes,
    ),
    _rule(
        "run lengths", _odd_runs, "has run lengths that do not add up to their size",
        "they must be numbers from 0, or what pycocotools compresses them to", _sum,
    ),
    _rule(
        "masks elsewhere", _mostly_elsewhere,
        "has a mask outside of its bbox, as most have",
        "give boxes and masks in the same pixels, and run lengths column by column",
    ),
    Rule(
        "mask elsewhere", "annotation", _sometimes_elsewhere, "has a mask outside of its bbox",
        "the mask is learned where the box is", Outcome.COUNTED, "masks", shown=_shown,
    ),
    Rule(
        "mask without a pixel", "annotation", _covers_nothing, "has a mask without a pixel",
        "nothing can be found there", Outcome.LEFT_OUT, "masks", shown=_shown,
    ),
)  # fmt: skip
