"""Rules of a whole file."""

from __future__ import annotations

from resnext_backbones.data.columns import Columns
from resnext_backbones.data.rules.rule import Outcome, Rows, Rule


def _fill_info(columns: Columns, rows: Rows) -> None:  # noqa: ARG001
    columns.content["info"] = {}


FILES = (
    Rule(
        "no images", "file", lambda c: [not c.images], "lists no images", "name some",
        Outcome.REFUSED,
    ),
    Rule(
        "no categories", "file", lambda c: [not c.categories], "lists no categories",
        "name the classes", Outcome.REFUSED,
    ),
    Rule(
        "byte order mark", "file", lambda c: [not c.is_plain],
        "is not UTF-8 without a byte order mark", "it was read as what it is", Outcome.FILLED,
        mend=lambda columns, rows: None,  # noqa: ARG005
    ),
    Rule(
        "info", "file", lambda c: [not isinstance(c.content.get("info", {}), dict)],
        "has an `info` that is no object", "it was left out", Outcome.FILLED, mend=_fill_info,
    ),
)  # fmt: skip
