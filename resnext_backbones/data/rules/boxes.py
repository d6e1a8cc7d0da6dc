"""Rules of boxes and areas."""

from __future__ import annotations

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, Floats
from resnext_backbones.data.rules.rule import COUNTED, FILLED, LEFT_OUT, REFUSED, Rows, Rule

FLAT = 0.01
"""A side below this many pixels is none: rounding alone keeps it from being found again."""

MARGIN = 1.0
"""Boxes may reach so many pixels beyond their image, as rounding makes them, unremarked."""

MOST = 100
"""COCO's metric looks at so many detections of an image."""


def _beside_its_image(columns: Columns, row: int) -> str:
    height, width = columns.own_sizes[row]
    box = columns.annotations[row].get("bbox")
    return f"{box!r:.80} in an image {width:.0f} wide and {height:.0f} high"


def _areas_beside(columns: Columns, row: int) -> str:
    return f"{columns.areas[row]:.0f} of {columns.annotations[row].get('bbox')!r:.80}"


def _no_box(columns: Columns) -> Flags:
    return np.any(np.isnan(columns.boxes), axis=1)


def _negative(columns: Columns) -> Flags:
    return np.any(columns.boxes[:, 2:] < 0, axis=1)


def without_size(columns: Columns) -> Flags:
    """Tells which boxes have no width or height."""
    sides = columns.boxes[:, 2:]
    return np.any(sides < FLAT, axis=1) & np.all(sides >= 0, axis=1)


def _edges(columns: Columns) -> tuple[Floats, Floats, Floats]:
    """Returns left and top, right and bottom, and those of the image."""
    low = columns.boxes[:, :2]
    return low, low + columns.boxes[:, 2:], columns.own_sizes[:, ::-1]


def outside(columns: Columns) -> Flags:
    """Tells which boxes do not touch their image."""
    low, high, extent = _edges(columns)
    return ((high <= 0) | (low >= extent)).any(1) & ~without_size(columns)


def _beyond(columns: Columns) -> Flags:
    low, high, extent = _edges(columns)
    return ((low < -MARGIN) | (high > extent + MARGIN)).any(1) & ~outside(columns)


def _below_a_pixel(columns: Columns) -> Flags:
    return (columns.boxes[:, 2:] < 1).any(1) & ~without_size(columns) & ~_negative(columns)


def _in_units(columns: Columns) -> Flags:
    """Tells whether all boxes lie between 0 and 1: the one that is to blame is the first."""
    low, high, extent = _edges(columns)
    are = len(low) > 0 and (extent > 2).all() and (high <= 1).all() and (columns.boxes >= 0).all()
    return np.full(len(low), bool(are))


def _as_corners(columns: Columns) -> Flags:
    """Tells which boxes are beyond their image and would be in it as two corners, where this is
    so of more than half of them all and of none the other way round.
    """
    low, high, extent = _edges(columns)
    second = columns.boxes[:, 2:]
    could_be = (second > low).all(1) & (second <= extent + MARGIN).all(1)
    beyond: Flags = np.any(high > extent + MARGIN, axis=1) & could_be
    are = len(beyond) > 0 and could_be.all() and beyond.mean() > 0.5
    return beyond & bool(are)


def _no_area(columns: Columns) -> Flags:
    return ~((columns.areas > 0) & np.isfinite(columns.areas)) & ~without_size(columns)


def _area_beyond(columns: Columns) -> Flags:
    sides = columns.boxes[:, 2:]
    return (columns.areas > 1.1 * (sides + 2).prod(1)) & ~without_size(columns)


def _fill_areas(columns: Columns, rows: Rows) -> None:
    """Takes areas from the masks, or else from the boxes; those of boxes that are none are 0."""
    of_boxes = np.nan_to_num(columns.boxes[rows, 2:].prod(1))
    # Of a mask that was taken out, as wrong, nothing is taken.
    held = ["segmentation" in columns.annotations[row] for row in rows]
    of_masks = np.where(held, columns.masks["area"][rows], 0)
    areas = np.where(of_masks > 0, np.minimum(of_masks, of_boxes.clip(min=1)), of_boxes)
    for row, area in zip(rows.tolist(), areas.tolist(), strict=True):
        columns.annotations[row]["area"] = area


def _same_object(columns: Columns) -> Rows:
    owners = (columns.place_of[kind][:, None] for kind in ("image", "category"))
    keys = np.concatenate([columns.boxes, *owners], 1)
    good = np.flatnonzero(~np.isnan(keys).any(1))
    _, first = np.unique(keys[good], axis=0, return_index=True)
    return np.setdiff1d(good, good[first])


def _crowded(columns: Columns) -> Flags:
    listed = columns.place_of["image"][~columns.crowds]
    return np.bincount(listed[listed >= 0], minlength=len(columns.images)) > MOST


BOXES = (
    Rule("bbox", "annotation", _no_box, "has no bbox of four numbers",
         "give it as x, y, width and height in pixels", REFUSED, shown="bbox"),
    Rule("bbox of negative size", "annotation", _negative, "has a bbox of negative size",
         "give the upper left corner, width and height", REFUSED, shown="bbox"),
    Rule("boxes in units of the image", "annotation", _in_units,
         "has, as all others have, a bbox between 0 and 1",
         "they are in units of the image's size: multiply them by its width and height", REFUSED,
         shown="bbox"),
    Rule("boxes as corners", "annotation", _as_corners,
         "has a bbox beyond its image that would be inside as two corners, as most have",
         "give width and height behind x and y, not the second corner", REFUSED,
         shown=_beside_its_image),
    Rule("bbox without size", "annotation", without_size, "has a bbox of no width or height",
         "nothing can be learned or found there", LEFT_OUT, shown="bbox"),
    Rule("bbox outside", "annotation", outside, "has a bbox outside of its image",
         "nothing can be learned or found there", LEFT_OUT, shown=_beside_its_image),
    Rule("bbox partly outside", "annotation", _beyond, "has a bbox that reaches beyond its image",
         "it is cut at the edge, or counts as it is, by the tool", COUNTED,
         shown=_beside_its_image),
    Rule("bbox below a pixel", "annotation", _below_a_pixel,
         "has a bbox that is narrower than a pixel", "detectors do not learn from it", COUNTED,
         shown="bbox"),
    Rule("object twice", "annotation", _same_object,
         "has the bbox and the category of another one of its image", "it counts twice", COUNTED,
         shown="bbox"),
    Rule("image of more than 100 objects", "image", _crowded, f"has more than {MOST} objects",
         f"COCO's metric looks at {MOST} detections of an image", COUNTED, needs="evaluate"),
    Rule("crowd", "annotation", lambda c: c.crowds, "is a crowd",
         "nothing is learned of it, and what is found there does not count", COUNTED,
         is_usual=True),
)  # fmt: skip

AREAS = (
    Rule("area", "annotation", _no_area, "has no area above 0",
         "that of its mask was taken, or of its box", FILLED, shown="area", mend=_fill_areas),
    Rule("area larger than the bbox", "annotation", _area_beyond,
         "has an area larger than that of its bbox", "that of its mask was taken, or of its box",
         FILLED, shown=_areas_beside, mend=_fill_areas),
)  # fmt: skip
"""They come behind the rules of masks, which take wrong ones out."""
