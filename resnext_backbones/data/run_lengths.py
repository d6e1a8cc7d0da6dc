"""COCO's run lengths, as lists or compressed to text, are added up without drawing them.

pycocotools does not look whether they fit the size beside them: what is too long is written behind
the end of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

OFFSET, MORE, SIGN, VALUE = 48, 0x20, 0x10, 0x1F
"""A character is 5 bits of a number above `OFFSET`; a bit says that more follow, and in the last
one of a number another bit is its sign.
"""

MOST_DIGITS = 8
"""More characters than these are no count of pixels."""

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def decode_counts(found: Sequence[Any]) -> tuple[Floats, Floats]:
    """Returns the sum of each annotation's run lengths, and the pixels that are set; NaN where they
    are no run lengths: numbers from 0 in a list, or text that pycocotools writes.
    """
    totals, areas = np.full(len(found), np.nan), np.full(len(found), np.nan)
    for is_kind, read in ((_is_list, _read_lists), (_is_text, _read_texts)):
        if rows := [i for i, value in enumerate(found) if is_kind(value)]:
            values, counts = read([found[i] for i in rows])
            starts = np.cumsum(counts) - counts
            is_set = _places(counts) % 2  # each second run is of pixels of the object
            good = np.minimum.reduceat(values, starts) >= 0
            totals[rows] = np.where(good, np.add.reduceat(values, starts), np.nan)
            areas[rows] = np.where(good, np.add.reduceat(values * is_set, starts), np.nan)
    return totals, areas


def _places(counts: Ids) -> Ids:
    """Returns the places of numbers in the mask that each is of."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _is_list(value: Any) -> bool:
    """Tells whether it is a list of whole numbers of which 64 bits hold the sum."""
    if type(value) is not list or not value or set(map(type, value)) != {int}:
        return False
    return min(value) >= 0 and sum(value) < 2**53


def _is_text(value: Any) -> bool:
    """Tells whether it is text that ends with the last character of a number."""
    if type(value) is not str or not value or not value.isascii():
        return False
    return (ord(value[-1]) - OFFSET) & MORE == 0


def _read_lists(found: Sequence[list[int]]) -> tuple[Ids, Ids]:
    """Returns the numbers of all lists in one, and how many each has."""
    counts = np.fromiter(map(len, found), np.int64, len(found))
    return np.fromiter(chain.from_iterable(found), np.int64, counts.sum()), counts


def _read_texts(found: Sequence[str]) -> tuple[Ids, Ids]:
    """Returns the numbers of all texts in one, and how many each has; -1 among them where one is
    not to be read. Numbers have a varying number of characters; from the fourth on each is written
    less the one two places before it.
    """
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    codes = np.frombuffer("".join(found).encode(), np.uint8).astype(np.int64) - OFFSET
    ends = np.flatnonzero(codes & MORE == 0)  # a text's last character ends a number
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, digits)).clip(max=MOST_DIGITS)
    values = np.add.reduceat((codes & VALUE) << shifts, starts)
    values -= (codes[ends] & SIGN != 0).astype(np.int64) << (shifts[ends] + 5)
    counts = np.bincount(np.repeat(np.arange(len(found)), lengths)[ends], minlength=len(found))
    values = _undo_differences(values, counts)
    wrong = np.maximum.reduceat((codes < 0) | (codes >= 2 * MORE), starts) | (digits > MOST_DIGITS)
    values[wrong] = -1
    return values, counts


def _undo_differences(values: Ids, counts: Ids) -> Ids:
    """Returns run lengths of which those from the fourth on were written as differences."""
    owner, place = np.repeat(np.arange(len(counts)), counts), _places(counts)
    # Each mask has three chains of them: the first alone, the odd places, and the even ones.
    chains = 3 * owner + np.where(place == 0, 0, 2 - place % 2)
    order = np.argsort(chains, kind="stable")
    sums = np.cumsum(values[order])
    begins = np.flatnonzero(np.diff(chains[order], prepend=-1))
    before = np.concatenate([[0], sums])[begins]
    out = np.empty_like(values)
    out[order] = sums - np.repeat(before, np.diff(begins, append=len(order)))
    return out
