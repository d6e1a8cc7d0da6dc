"""Rules of a whole file."""

from __future__ import annotations

from resnext_backbones.data.columns import Columns, Flags
from resnext_backbones.data.rules.boxes import outside, without_size
from resnext_backbones.data.rules.masks import covers_nothing
from resnext_backbones.data.rules.rule import COUNTED, FILLED, REFUSED, Rows, Rule


def _can_be_learned(columns: Columns) -> Flags:
    return (columns.boxes[:, 2:] >= 1).all(1) & ~outside(columns) & ~columns.crowds


def _can_be_found(columns: Columns) -> Flags:
    return ~columns.crowds & ~outside(columns) & ~without_size(columns)


def _empty_info(columns: Columns, rows: Rows) -> None:  # noqa: ARG001  # there is one file
    columns.content["info"] = {}


def _nothing_to_learn(columns: Columns) -> list[bool]:
    return [not _can_be_learned(columns).any()]


def _masks_of_nothing(columns: Columns) -> list[bool]:
    found = _can_be_found(columns)
    covers = found.copy()
    covers[covers_nothing(columns)] = False
    return [bool(found.any() and not covers.any())]


NOTHING = "has no annotation that a detector learns from"
ONE = "there must be one at least that is no crowd, a pixel wide and high, and in its image"

BACKGROUND = "background alone"
"""The name of the rule that files break which are of use beside others alone."""

FILES = (
    Rule("nothing to learn from", "file", _nothing_to_learn, NOTHING, ONE, REFUSED, needs="whole",
         alone=True),
    Rule(BACKGROUND, "file", _nothing_to_learn, NOTHING,
         "its images are background, and another file must have objects", COUNTED, needs="part"),
    Rule("nothing to measure with", "file", lambda c: [not _can_be_found(c).any()],
         "has no annotation that could be found",
         "for detections without a measure set format_only and outfile_prefix of the evaluator",
         REFUSED, needs="evaluate", alone=True),
    Rule("masks of nothing", "file", _masks_of_nothing, "has no mask with a pixel",
         "draw those of its objects; boxes alone do without", REFUSED, needs="masks", alone=True),
    Rule("no images", "file", lambda c: [not c.images], "lists no images", "name some", REFUSED),
    Rule("no categories", "file", lambda c: [not c.categories], "lists no categories",
         "name the classes", REFUSED),
    Rule("byte order mark", "file", lambda c: [not c.is_plain],
         "is not UTF-8 without a byte order mark", "it was read as what it is", FILLED),
    Rule("info", "file", lambda c: [not isinstance(c.content.get("info", {}), dict)],
         "has an `info` that is no object", "it was left out", FILLED, mend=_empty_info),
)  # fmt: skip
