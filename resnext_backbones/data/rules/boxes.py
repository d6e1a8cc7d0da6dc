"""Rules of boxes and areas."""

from __future__ import annotations

import numpy as np

from resnext_backbones.data.columns import Columns, Flags, Floats
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule

FLAT = 0.01
"""A side below this many pixels is none: rounding alone keeps it from being found again."""

MARGIN = 1.0
"""Boxes may reach so many pixels beyond their image, as rounding makes them, unremarked."""

MOST = 100
"""COCO's metric looks at so many detections of an image."""


def _shown(columns: Columns, row: int) -> str:
    return f"{columns.annotations[row].get('bbox')!r:.80}"


def _beside_its_image(columns: Columns, row: int) -> str:
    height, width = columns.own_sizes[row]
    return f"{_shown(columns, row)} in an image {width:.0f} wide and {height:.0f} high"


def _no_box(columns: Columns) -> Flags:
    return np.any(np.isnan(columns.boxes), axis=1)


def _negative(columns: Columns) -> Flags:
    return np.any(columns.boxes[:, 2:] < 0, axis=1)


def _corners(columns: Columns) -> tuple[Floats, Floats]:
    """Returns left and top, and right and bottom."""
    return columns.boxes[:, :2], columns.boxes[:, :2] + columns.boxes[:, 2:]


def _without_size(columns: Columns) -> Flags:
    sides = columns.boxes[:, 2:]
    return np.any(sides < FLAT, axis=1) & np.all(sides >= 0, axis=1)


def _outside(columns: Columns) -> Flags:
    low, high = _corners(columns)
    extent = columns.own_sizes[:, ::-1]
    return ((high <= 0) | (low >= extent)).any(1) & ~_without_size(columns)


def _beyond(columns: Columns) -> Flags:
    low, high = _corners(columns)
    extent = columns.own_sizes[:, ::-1]
    return ((low < -MARGIN) | (high > extent + MARGIN)).any(1) & ~_outside(columns)


def _below_a_pixel(columns: Columns) -> Flags:
    return (columns.boxes[:, 2:] < 1).any(1) & ~_without_size(columns) & ~_negative(columns)


def usable(columns: Columns) -> Flags:
    """Tells which annotations are objects that a detector learns from."""
    sides = columns.boxes[:, 2:]
    return (sides >= 1).all(1) & ~_outside(columns) & ~columns.crowds


def _in_units(columns: Columns) -> Flags:
    """Tells whether all boxes lie between 0 and 1: the one that is to blame is the first."""
    _, high = _corners(columns)
    flags = np.zeros(len(columns.boxes), bool)
    large = (columns.own_sizes > 2).all()
    if len(flags) and large and not _no_box(columns).any():
        flags[:] = (high <= 1).all() and (columns.boxes >= 0).all()
    return flags


def _as_corners(columns: Columns) -> Flags:
    """Tells which boxes are beyond their image and would be in it as two corners, where this is
    so of more than half of them all and of none the other way round.
    """
    extent = columns.own_sizes[:, ::-1]
    first, second = columns.boxes[:, :2], columns.boxes[:, 2:]
    could_be = (second > first).all(1) & (second <= extent + MARGIN).all(1)
    beyond: Flags = np.any(first + second > extent + MARGIN, axis=1) & could_be
    if not len(beyond) or not could_be.all() or beyond.mean() <= 0.5:
        return np.zeros(len(beyond), bool)
    return beyond


def _areas(columns: Columns) -> Floats:
    """Returns what areas are by the masks, or else by the boxes; those of boxes that are none are
    0.
    """
    of_boxes = np.nan_to_num(columns.boxes[:, 2] * columns.boxes[:, 3])
    of_masks = columns.masks.area
    return np.where(of_masks > 0, np.minimum(of_masks, of_boxes.clip(min=1)), of_boxes)


def _no_area(columns: Columns) -> Flags:
    areas = columns.areas
    return ~((areas > 0) & np.isfinite(areas)) & ~_without_size(columns)


def _fill_areas(columns: Columns, rows: Rows) -> None:
    areas = _areas(columns)[rows].tolist()
    for row, area in zip(rows.tolist(), areas, strict=True):
        columns.annotations[row]["area"] = area


def _area_beyond(columns: Columns) -> Flags:
    sides = columns.boxes[:, 2:]
    return (columns.areas > 1.1 * (sides + 2).prod(1)) & ~_without_size(columns)


def _same_object(columns: Columns) -> Rows:
    keys = np.concatenate(
        [columns.boxes, columns.image_of[:, None], columns.category_of[:, None]], 1
    )
    good = np.flatnonzero(~np.isnan(keys).any(1))
    _, first = np.unique(keys[good], axis=0, return_index=True)
    return np.setdiff1d(good, good[first])


def _crowded(columns: Columns) -> Flags:
    listed = columns.image_of[(columns.image_of >= 0) & ~columns.crowds]
    return np.bincount(listed, minlength=len(columns.images)) > MOST


BOXES = (
    Rule(
        "bbox", "annotation", _no_box, "has no bbox of four numbers",
        "give it as x, y, width and height in pixels", Outcome.REFUSED, shown=_shown,
    ),
    Rule(
        "bbox of negative size", "annotation", _negative, "has a bbox of negative size",
        "give the upper left corner, width and height", Outcome.REFUSED, shown=_shown,
    ),
    Rule(
        "boxes in units of the image", "annotation", _in_units,
        "has, as all others have, a bbox between 0 and 1",
        "they are in units of the image's size: multiply them by its width and height",
        Outcome.REFUSED, shown=_shown,
    ),
    Rule(
        "boxes as corners", "annotation", _as_corners,
        "has a bbox beyond its image that would be inside as two corners, as most have",
        "give width and height behind x and y, not the second corner", Outcome.REFUSED,
        shown=_beside_its_image,
    ),
    Rule(
        "bbox without size", "annotation", _without_size, "has a bbox of no width or height",
        "nothing can be learned or found there", Outcome.LEFT_OUT, shown=_shown,
    ),
    Rule(
        "bbox outside", "annotation", _outside, "has a bbox outside of its image",
        "nothing can be learned or found there", Outcome.LEFT_OUT, shown=_beside_its_image,
    ),
    Rule(
        "bbox partly outside", "annotation", _beyond, "has a bbox that reaches beyond its image",
        "it is cut at the edge, or counts as it is, by the tool", Outcome.COUNTED,
        shown=_beside_its_image,
    ),
    Rule(
        "bbox below a pixel", "annotation", _below_a_pixel,
        "has a bbox that is narrower than a pixel", "detectors do not learn from it",
        Outcome.COUNTED, shown=_shown,
    ),
    Rule(
        "area", "annotation", _no_area, "has no area above 0",
        "that of its mask was taken, or of its box", Outcome.FILLED,
        shown=lambda c, row: f"{c.annotations[row].get('area')!r:.40}", mend=_fill_areas,
    ),
    Rule(
        "area larger than the bbox", "annotation", _area_beyond,
        "has an area larger than that of its bbox",
        "that of its mask was taken, or of its box", Outcome.FILLED,
        shown=lambda c, row: f"{c.areas[row]:.0f} of {_shown(c, row)}", mend=_fill_areas,
    ),
    Rule(
        "object twice", "annotation", _same_object,
        "has the bbox and the category of another one of its image", "it counts twice",
        Outcome.COUNTED, shown=_shown,
    ),
    Rule(
        "image of more than 100 objects", "image", _crowded,
        f"has more than {MOST} objects", f"COCO's metric looks at {MOST} detections of an image",
        Outcome.COUNTED, needs="evaluate",
    ),
    Rule(
        "crowd", "annotation", lambda c: c.crowds, "is a crowd",
        "nothing is learned of it, and what is found there does not count", Outcome.COUNTED,
        is_usual=True,
    ),
    Rule(
        "nothing to learn from", "file",
        lambda c: [not usable(c).any()],
        "has no annotation that a detector learns from",
        "there must be one at least that is no crowd, a pixel wide and high, and in its image",
        Outcome.REFUSED, needs="train", alone=True,
    ),
    Rule(
        "nothing to measure with", "file",
        lambda c: [not (~c.crowds & ~_outside(c) & ~_without_size(c)).any()],
        "has no annotation that could be found",
        "for detections without a measure set format_only and outfile_prefix of the evaluator",
        Outcome.REFUSED, needs="evaluate", alone=True,
    ),
)  # fmt: skip
