"""An annotation file's lists become columns of numbers: rules look at all of one at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.data.coco_file import Content
from resnext_backbones.data.masks import Masks, Step, read_masks, unsaid

LARGEST_ID = 2**53
"""Ids up to here are the same in JSON, in floating point and in 64 bits."""

NO_ID = -(2**62)
"""Stands in a column of ids for one that is no whole number, or too large."""

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]

PLAIN = {int, float}


class Columns:
    """Holds what an annotation file says, and columns of it as they are asked for.

    Attributes:
        content: as `read_content` returns it; rules that fill in change it.
        is_plain: whether its file is UTF-8 without a byte order mark.
        step: is told how many annotations were looked at, of how many.
    """

    def __init__(
        self,
        content: Content,
        *,
        is_plain: bool = True,
        step: Step = unsaid,
    ) -> None:
        self.content, self.is_plain, self.step = content, is_plain, step
        self.images: list[dict[str, Any]] = content["images"]
        self.annotations: list[dict[str, Any]] = content["annotations"]
        self.categories: list[dict[str, Any]] = content["categories"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Returns the list that has things of a kind: `image`, `annotation` or `category`."""
        return {
            "image": self.images,
            "annotation": self.annotations,
            "category": self.categories,
            "file": [self.content],
        }[kind]

    @cached_property
    def image_ids(self) -> Ids:
        return whole([image.get("id") for image in self.images])

    @cached_property
    def category_ids(self) -> Ids:
        return whole([category.get("id") for category in self.categories])

    @cached_property
    def annotation_ids(self) -> Ids:
        return whole([annotation.get("id") for annotation in self.annotations])

    @cached_property
    def names(self) -> list[Any]:
        return [category.get("name") for category in self.categories]

    @cached_property
    def sizes(self) -> Floats:
        """Returns (N, 2), each image's height and width; NaN where one is no whole number of
        pixels.
        """
        sizes = np.stack(
            [numbers([image.get(key) for image in self.images]) for key in ("height", "width")], 1
        ).reshape(-1, 2)
        sizes[~((sizes > 0) & (sizes == np.floor(sizes)) & (sizes < LARGEST_ID))] = np.nan
        return sizes

    @cached_property
    def image_of(self) -> Ids:
        """Returns the place of each annotation's image in the list, -1 where it has none."""
        return places([a.get("image_id") for a in self.annotations], self.image_ids)

    @cached_property
    def category_of(self) -> Ids:
        """Returns the place of each annotation's category in the list, -1 for none."""
        return places([a.get("category_id") for a in self.annotations], self.category_ids)

    @cached_property
    def own_sizes(self) -> Floats:
        """Returns (N, 2), height and width of each annotation's image; NaN for none."""
        known = np.concatenate([self.sizes, [[np.nan, np.nan]]])
        return known[self.image_of]

    @cached_property
    def boxes(self) -> Floats:
        """Returns (N, 4), x, y, width and height; NaN in those that are not four numbers."""
        return rows_of_numbers([a.get("bbox") for a in self.annotations], 4)

    @cached_property
    def areas(self) -> Floats:
        return numbers([a.get("area") for a in self.annotations])

    @cached_property
    def crowds(self) -> Flags:
        """Tells which annotations are of crowds, where that is said in any way."""
        return np.array([a.get("iscrowd") in (1, True) for a in self.annotations], bool)

    @cached_property
    def masks(self) -> Masks:
        found = [a.get("segmentation") for a in self.annotations]
        return read_masks(found, self.step)


def numbers(values: Sequence[Any]) -> Floats:
    """Returns numbers as an array, with NaN for what is none: text, null, true and false."""
    if set(map(type, values)) <= PLAIN:
        try:
            return np.array(values, np.float64)
        except OverflowError:
            pass
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    if type(value) not in PLAIN:
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.nan


def whole(values: Sequence[Any]) -> Ids:
    """Returns whole numbers as an array, 3.0 too, with `NO_ID` for all else."""
    found = numbers(values)
    good = (found == np.floor(found)) & (np.abs(found) <= LARGEST_ID)
    return np.where(good, np.nan_to_num(found, nan=0, posinf=0, neginf=0), NO_ID).astype(np.int64)


def rows_of_numbers(values: Sequence[Any], count: int) -> Floats:
    """Returns lists of `count` finite numbers as rows; NaN in rows of all else."""
    if set(map(type, values)) <= {list} and set(map(len, values)) <= {count}:
        rows = numbers(list(chain.from_iterable(values))).reshape(-1, count)
    else:
        blank = [None] * count
        taken = [v if type(v) is list and len(v) == count else blank for v in values]
        rows = numbers(list(chain.from_iterable(taken))).reshape(-1, count)
    rows[~np.isfinite(rows).all(1)] = np.nan
    return rows


def places(values: Sequence[Any], ids: Ids) -> Ids:
    """Returns where in `ids` each value stands, -1 for those that do not."""
    wanted = whole(values)
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(ids, kind="stable")
    at = np.searchsorted(ids[order], wanted).clip(max=len(ids) - 1)
    found = (ids[order][at] == wanted) & (wanted != NO_ID)
    return np.where(found, order[at], -1)


def repeated(values: Iterable[Any]) -> Flags:
    """Tells which values stood there before."""
    seen: set[Any] = set()
    flags = []
    for value in values:
        flags.append(value in seen)
        seen.add(value)
    return np.array(flags, bool)
