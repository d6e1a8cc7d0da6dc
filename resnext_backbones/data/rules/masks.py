"""Rules of masks: polygons and run lengths, as pycocotools draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as pycocotools_mask

from resnext_backbones.data.columns import Columns, Flags
from resnext_backbones.data.masks import FLAT, LEAST, NONE, POLYGONS, RUNS, TEXT, WRONG
from resnext_backbones.data.rules.rule import (
    COUNTED,
    FILLED,
    LEFT_OUT,
    REFUSED,
    TAKEN_OUT,
    Rows,
    Rule,
)

SMALL = 4.0
"""Polygons with a smaller area, in pixels, are drawn to see whether they cover one."""

DRAWN = "masks without a pixel"
"""Columns keep what was found under this name."""

INSIDE = 0.5
"""A mask has at least this part of the rectangle around it in its box."""


def _is(*kinds: int) -> Callable[[Columns], Flags]:
    return lambda columns: np.isin(columns.masks["kind"], kinds)


def _odd_size(columns: Columns) -> Flags:
    known = ~np.isnan(columns.own_sizes).any(1)
    return _is(RUNS)(columns) & (columns.masks["size"] != columns.own_sizes).any(1) & known


def _sizes(columns: Columns, row: int) -> str:
    size = columns.annotations[row]["segmentation"].get("size")
    height, width = columns.own_sizes[row]
    return f"{size!r:.40}, of an image of [{height:.0f}, {width:.0f}]"


def _odd_runs(columns: Columns) -> Flags:
    wanted = columns.masks["size"].prod(1)
    return _is(RUNS)(columns) & (columns.masks["total"] != wanted) & ~np.isnan(wanted)


def _sum(columns: Columns, row: int) -> str:
    total, size = columns.masks["total"][row], columns.masks["size"][row]
    if np.isnan(total):
        return f"{columns.annotations[row]['segmentation'].get('counts')!r:.60}"
    return f"{total:.0f} of {size.prod():.0f}"


def _has_whole(columns: Columns) -> Flags:
    """Tells which masks have a polygon of three points."""
    return _is(POLYGONS)(columns) & (columns.masks["parts"] > 0)


def _all_short(columns: Columns) -> Flags:
    return _is(POLYGONS)(columns) & ~_has_whole(columns) & ~columns.masks["odd"]


def _some_short(columns: Columns) -> Flags:
    return _has_whole(columns) & columns.masks["short"] & ~columns.masks["odd"]


def _whole_parts(columns: Columns, row: int) -> list[list[float]]:
    return [p for p in columns.annotations[row]["segmentation"] if len(p) >= LEAST]


def _drop_short(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.annotations[row]["segmentation"] = _whole_parts(columns, row)


def _far(columns: Columns) -> Flags:
    """Tells which polygons reach beyond their image by more than its size; pycocotools takes
    memory for each pixel of their edges.
    """
    bounds, extent = columns.masks["bounds"], columns.own_sizes[:, ::-1]
    inside = (bounds[:, :2] >= -extent).all(1) & (bounds[:, 2:] <= 2 * extent).all(1)
    return _has_whole(columns) & ~inside & ~np.isnan(extent).any(1)


def _elsewhere(columns: Columns) -> Flags:
    """Tells which masks lie outside of their boxes by more than half of the rectangle around them,
    as run lengths row by row do, or polygons of the image in another size; a pixel does not count.
    """
    bounds, boxes = columns.masks["bounds"], columns.boxes
    low, high = bounds[:, :2] - 1, bounds[:, 2:] + 1
    start, end = boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:] + 1
    with np.errstate(all="ignore"):  # numbers near the largest, and rows of NaN
        shared = (np.minimum(high, end) - np.maximum(low, start)).clip(min=0)
        inside = (shared / (high - low)).prod(1)
    return (inside < INSIDE) & ~_odd_size(columns)


def _mostly_elsewhere(columns: Columns) -> Flags:
    found = _elsewhere(columns)
    masks = (~np.isnan(columns.masks["bounds"]).any(1)).sum()
    return found & (found.sum() > masks / 2)


def _sometimes_elsewhere(columns: Columns) -> Flags:
    return _elsewhere(columns) & ~_mostly_elsewhere(columns)


def covers_nothing(columns: Columns) -> Rows:
    """Returns the masks without a pixel, of those that can be drawn; they are looked for once."""
    kept = vars(columns)
    if DRAWN not in kept:
        kept[DRAWN] = _drawn(columns)
    found: Rows = kept[DRAWN]
    return found


def _drawn(columns: Columns) -> Rows:
    # Of polygons only small ones are drawn.
    masks = columns.masks
    bad = _is(NONE, TEXT, FLAT, WRONG)(columns) | masks["odd"] | np.isnan(columns.own_sizes).any(1)
    for refused in (_all_short, _far, _odd_size, _odd_runs):
        bad |= refused(columns)
    empty = ~bad & _is(RUNS)(columns) & (masks["area"] == 0)
    for row in np.flatnonzero(~bad & _is(POLYGONS)(columns) & (masks["area"] < SMALL)):
        height, width = map(int, columns.own_sizes[row])
        drawn = pycocotools_mask.frPyObjects(_whole_parts(columns, row), height, width)
        empty[row] = pycocotools_mask.area(pycocotools_mask.merge(drawn)) == 0
    return np.flatnonzero(empty)


def _take_out(columns: Columns, rows: Rows) -> None:
    for row in rows:
        columns.annotations[row].pop("segmentation", None)


def _rule(name: str, find: Any, says: str, so: str, shown: Any = "segmentation") -> Rule:
    """Returns a rule of masks that are refused where masks are used, and taken out elsewhere."""
    return Rule(
        name, "annotation", find, says, so, REFUSED, "masks", TAKEN_OUT, shown, _take_out
    )  # fmt: skip


MASKS = (
    Rule("segmentation", "annotation", _is(NONE), "has no segmentation",
         "a network with masks needs one for each object; boxes alone do without", REFUSED,
         needs="masks"),
    _rule("segmentation that is text", _is(TEXT),
          "has text, as of a file's name, for its segmentation",
          "write the mask itself, as polygons or run lengths"),
    _rule("segmentation in one list", _is(FLAT), "has numbers in one list for its segmentation",
          "polygons are lists of coordinates in a list: [[x, y, x, y, x, y]]"),
    _rule("segmentation of another kind", _is(WRONG),
          "has a segmentation that is neither polygons nor run lengths",
          "give polygons as lists of numbers, or run lengths with their size"),
    _rule("odd number of coordinates", lambda c: c.masks["odd"],
          "has a polygon with an odd number of coordinates", "a point is an x and a y"),
    _rule("polygon without area", _all_short, "has no polygon of three points",
          "pycocotools takes four numbers for a box; give a polygon"),
    Rule("polygon of two points", "annotation", _some_short,
         "has a polygon of fewer than three points beside others", "it was left out", FILLED,
         shown="segmentation", mend=_drop_short),
    _rule("polygon far outside", _far,
          "has a polygon that is beyond its image by more than its size",
          "give it in the pixels of the image"),
    _rule("size of run lengths", _odd_size, "has run lengths of another size than its image",
          "the size is [height, width], that of the image", _sizes),
    _rule("run lengths", _odd_runs, "has run lengths that do not add up to their size",
          "they must be numbers from 0, or what pycocotools compresses them to", _sum),
    _rule("masks elsewhere", _mostly_elsewhere, "has a mask outside of its bbox, as most have",
          "give boxes and masks in the same pixels, and run lengths column by column"),
    Rule("mask elsewhere", "annotation", _sometimes_elsewhere, "has a mask outside of its bbox",
         "the mask is learned where the box is", COUNTED, "masks", shown="segmentation"),
    Rule("mask without a pixel", "annotation", covers_nothing, "has a mask without a pixel",
         "nothing can be found there", LEFT_OUT, "masks", shown="segmentation"),
)  # fmt: skip
