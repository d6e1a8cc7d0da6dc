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


def decode_counts(found: Sequence[Any]) -> tuple[Floats, Floats]:
    """Returns the sum of each annotation's run lengths, and the pixels that are set; NaN where they
    are no run lengths: numbers from 0 in a list, or text that pycocotools writes.
    """
    totals, areas = np.full(len(found), np.nan), np.full(len(found), np.nan)
    lists = [i for i, value in enumerate(found) if _is_counts(value)]
    texts = [i for i, value in enumerate(found) if type(value) is str and value]
    for rows, read in ((lists, _add_lists), (texts, _add_texts)):
        if rows:
            totals[rows], areas[rows] = read([found[i] for i in rows])
    return totals, areas


def _is_counts(value: Any) -> bool:
    """Tells whether it is a list of whole numbers of which 64 bits hold the sum."""
    if type(value) is not list or not value or set(map(type, value)) != {int}:
        return False
    return min(value) >= 0 and sum(value) < 2**53


def _add_lists(found: Sequence[list[int]]) -> tuple[Floats, Floats]:
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    flat = np.fromiter(chain.from_iterable(found), np.float64, lengths.sum())
    return _sums(flat, lengths)


def _sums(flat: Floats, lengths: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Returns the sums of the runs of each mask, and of its second, fourth and so on."""
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(flat)) - np.repeat(starts, lengths)
    return np.add.reduceat(flat, starts), np.add.reduceat(flat * (place % 2), starts)


def _add_texts(found: Sequence[str]) -> tuple[Floats, Floats]:
    """Decodes compressed run lengths: numbers of a varying number of characters, each from the
    fourth on less the one two places before it.
    """
    totals, areas = np.full(len(found), np.nan), np.full(len(found), np.nan)
    good = [i for i, text in enumerate(found) if text.isascii() and _ends(text)]
    if not good:
        return totals, areas
    lengths = np.array([len(found[i]) for i in good])
    codes = np.frombuffer("".join(found[i] for i in good).encode(), np.uint8).astype(np.int64)
    codes -= OFFSET
    mask_of = np.repeat(np.arange(len(good)), lengths)
    # Numbers end where no more characters follow; a mask's last character ends one.
    ends = np.flatnonzero(codes & MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digit = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    wrong = (codes < 0) | (codes >= 2 * MORE) | (digit >= MOST_DIGITS)
    bad = np.bincount(mask_of, wrong, len(good)) > 0
    values = np.add.reduceat((codes & VALUE) << (5 * digit.clip(max=MOST_DIGITS)), starts)
    negative = codes[ends] & SIGN != 0
    values = values - (negative.astype(np.int64) << (5 * (digit[ends].clip(max=MOST_DIGITS) + 1)))
    counts = np.bincount(mask_of[ends], minlength=len(good))
    values = _undo_differences(values, counts)
    first = np.cumsum(counts) - counts
    bad |= np.minimum.reduceat(values, first) < 0
    total, area = _sums(values.astype(np.float64), counts)
    total[bad] = area[bad] = np.nan
    totals[good], areas[good] = total, area
    return totals, areas


def _ends(text: str) -> bool:
    """Tells whether a text ends with the last character of a number."""
    return (ord(text[-1]) - OFFSET) & MORE == 0


def _undo_differences(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns run lengths of which those from the fourth on were written as differences."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    place = np.arange(len(values)) - starts
    out = values.copy()
    for parity in (0, 1):
        chosen = np.flatnonzero(place % 2 == parity)
        if not len(chosen):
            continue
        running = np.cumsum(values[chosen])
        # The first of each mask's own sum is its second, or for the even ones its third, number.
        begins = place[chosen] == (2 if parity == 0 else 1)
        begins |= place[chosen] == 0
        index = np.maximum.accumulate(np.where(begins, np.arange(len(chosen)), 0))
        before = running[index] - values[chosen][index]
        out[chosen] = running - before
    return out
