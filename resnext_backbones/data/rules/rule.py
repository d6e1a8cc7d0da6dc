"""A rule finds what is odd in a list of annotations, and says what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.data.columns import LISTED_AS, Columns

Rows = NDArray[np.int64]
"""Places in a list."""


class Outcome(StrEnum):
    """Says what becomes of what breaks a rule."""

    REFUSED = "refused"
    FILLED = "filled in"
    TAKEN_OUT = "taken out"
    LEFT_OUT = "left out"
    COUNTED = "counted"


REFUSED, FILLED, TAKEN_OUT, LEFT_OUT, COUNTED = Outcome


@dataclass(frozen=True)
class Use:
    """Says what a file is read for, since not all of it matters to everyone.

    Attributes:
        train: a network learns from it.
        part: of what a network learns from: others, or none, are read with it, and `check_learned`
            of all of them is called.
        evaluate: it is the ground truth of a metric.
        masks: of the annotations are used, beside their boxes.
        keypoints: of the annotations are used.
        annotated: False is a list of images, of which detections are written.
    """

    train: bool = False
    part: bool = False
    evaluate: bool = False
    masks: bool = False
    keypoints: bool = False
    annotated: bool = True

    @property
    def whole(self) -> bool:
        """Tells whether it is all that a network learns from."""
        return self.train and not self.part

    def __str__(self) -> str:
        return "-".join(name for name, value in vars(self).items() if value)


@dataclass(frozen=True)
class Rule:
    """Says what may not be, or what is worth to be known.

    Attributes:
        name: of the rule, in few words.
        of: what kind of thing breaks it: an annotation, an image, a category, or the file.
        find: returns a flag for each of them, or their places.
        says: what is wrong, behind the name of the thing.
        so: what was done, or is to be done.
        outcome: what becomes of them.
        needs: a word of `Use` that must hold for that outcome; "" is always.
        otherwise: the outcome where it does not; None says nothing then.
        shown: the key of the value that is shown, or what returns it as text.
        mend: fills in, for the rows that were found.
        is_usual: whether most data sets have some.
        alone: it is said only where nothing else is refused, which would be its cause.
    """

    name: str
    of: str
    find: Callable[[Columns], Any]
    says: str
    so: str
    outcome: Outcome
    needs: str = ""
    otherwise: Outcome | None = None
    shown: str | Callable[[Columns, int], str] = ""
    mend: Callable[[Columns, Rows], None] | None = None
    is_usual: bool = False
    alone: bool = False

    def outcome_for(self, use: Use) -> Outcome | None:
        """Returns what becomes of what breaks the rule in a use."""
        return self.outcome if not self.needs or getattr(use, self.needs) else self.otherwise

    def rows(self, columns: Columns) -> Rows:
        """Returns the places of all that break it."""
        found = np.asarray(self.find(columns))
        return np.flatnonzero(found) if found.dtype == bool else found.astype(np.int64)


@dataclass(frozen=True)
class Finding:
    """Says that a rule was broken: how often, by what first, and what became of it.

    Attributes:
        rule: its name.
        outcome: what became of them.
        count: how many break it.
        first: the first one, by its id and place in the file.
        message: in words, with what was done or what to do.
        is_usual: as of the rule.
    """

    rule: str
    outcome: Outcome
    count: int
    first: str
    message: str
    is_usual: bool = False

    @classmethod
    def of(cls, rule: Rule, outcome: Outcome, rows: Rows, columns: Columns) -> Finding:
        """Returns what a rule found in these places."""
        first = _name(rule, columns, int(rows[0]))
        shown = _shown(rule, columns, int(rows[0]))
        others = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
        so = "it was taken out, since it is not used" if outcome is TAKEN_OUT else rule.so
        message = f"{first} {rule.says}{shown}{others}; {so}"
        return cls(rule.name, outcome, len(rows), first, message, rule.is_usual)


def _name(rule: Rule, columns: Columns, row: int) -> str:
    if rule.of == "file":
        return "it"
    thing, place = columns.of(rule.of)[row], f"{LISTED_AS[rule.of]}[{row}]"
    return f"{rule.of} {thing['id']!r:.40} ({place})" if "id" in thing else f"{rule.of} {place}"


def _shown(rule: Rule, columns: Columns, row: int) -> str:
    if callable(rule.shown):
        return f": {rule.shown(columns, row)}"
    return f": {columns.of(rule.of)[row].get(rule.shown)!r:.80}" if rule.shown else ""
