"""An annotation file's lists become columns of numbers: rules look at all of one at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.data.coco_file import Content
from resnext_backbones.data.masks import Step, read_masks

LISTED_AS = {"image": "images", "annotation": "annotations", "category": "categories"}

LARGEST_ID = 2**53
"""Ids below it are the same in JSON, in floating point and in 64 bits."""

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

    def __init__(self, content: Content, *, is_plain: bool, step: Step) -> None:
        self.content, self.is_plain, self.step = content, is_plain, step
        self.images: list[dict[str, Any]] = content["images"]
        self.annotations: list[dict[str, Any]] = content["annotations"]
        self.categories: list[dict[str, Any]] = content["categories"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Returns all things of a kind: `image`, `annotation`, `category`, or `file`."""
        return [self.content] if kind == "file" else self.content[LISTED_AS[kind]]

    def values(self, kind: str, key: str) -> list[Any]:
        """Returns what things say; None of those that do not have the key."""
        return [thing.get(key) for thing in self.of(kind)]

    def flags(self, kind: str, key: str, test: Callable[[Any], bool]) -> Flags:
        """Tells of which things a value passes a test."""
        return np.fromiter(map(test, self.values(kind, key)), bool, len(self.of(kind)))

    def typed(self, kind: str, key: str, wanted: type) -> Flags:
        """Tells of which things a value is of a type."""
        kinds = list(map(type, self.values(kind, key)))
        if wanted not in set(kinds):  # as mostly, which is seen sooner
            return np.zeros(len(kinds), bool)
        return np.array([each is wanted for each in kinds], bool)

    @cached_property
    def ids(self) -> dict[str, Ids]:
        """Returns the ids of the things of each kind."""
        return {kind: whole(self.values(kind, "id")) for kind in LISTED_AS}

    @cached_property
    def place_of(self) -> dict[str, Ids]:
        """Returns the places of each annotation's `image` and `category` in their lists, -1 where
        they are not there.
        """
        return {
            kind: places(self.values("annotation", f"{kind}_id"), self.ids[kind])
            for kind in ("image", "category")
        }

    @cached_property
    def sizes(self) -> Floats:
        """Returns (N, 2), each image's height and width; NaN where one is no whole number of
        pixels.
        """
        sizes = np.stack([numbers(self.values("image", key)) for key in ("height", "width")], 1)
        sizes[~((sizes > 0) & (sizes == np.floor(sizes)) & (sizes < LARGEST_ID))] = np.nan
        return sizes

    @cached_property
    def own_sizes(self) -> Floats:
        """Returns (N, 2), height and width of each annotation's image; NaN for none."""
        return np.concatenate([self.sizes, [[np.nan, np.nan]]])[self.place_of["image"]]

    @cached_property
    def boxes(self) -> Floats:
        """Returns (N, 4), x, y, width and height; NaN in those that are not four numbers."""
        blank = [None] * 4
        found = self.values("annotation", "bbox")
        taken = (v if type(v) is list and len(v) == 4 else blank for v in found)
        boxes = numbers(list(chain.from_iterable(taken))).reshape(-1, 4)
        boxes[~np.isfinite(boxes).all(1)] = np.nan
        return boxes

    @cached_property
    def areas(self) -> Floats:
        return numbers(self.values("annotation", "area"))

    @cached_property
    def crowds(self) -> Flags:
        """Tells which annotations are of crowds, where that is said in any way."""
        return self.flags("annotation", "iscrowd", lambda value: value in (1, True))

    @cached_property
    def masks(self) -> NDArray[np.void]:
        """Returns what `read_masks` does of each annotation's."""
        return read_masks(self.values("annotation", "segmentation"), self.step)


def numbers(values: Sequence[Any]) -> Floats:
    """Returns numbers as an array, with NaN for what is none: text, null, true and false."""
    if set(map(type, values)) <= PLAIN:
        try:
            return np.array(values, np.float64)
        except OverflowError:
            pass
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value) if type(value) in PLAIN else np.nan
    except OverflowError:
        return np.nan


def whole(values: Sequence[Any]) -> Ids:
    """Returns whole numbers as an array, 3.0 too, with `NO_ID` for all else."""
    found = numbers(values)
    good = (found == np.floor(found)) & (np.abs(found) < LARGEST_ID)
    return np.where(good, found, NO_ID).astype(np.int64)


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
