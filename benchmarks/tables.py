"""A result as a table, for a terminal and for a document."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from benchmarks.columns import kind_of


def title(result: dict[str, Any]) -> str:
    """Returns what was measured, in one line."""
    key, kind = kind_of(result)
    return kind.title(result[key])


def _columns(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Returns the columns in which something stands."""
    wanted = kind_of(result)[1].columns
    columns = [(head, [cell(row) for row in result["rows"]]) for head, cell in wanted]
    return [(head, cells) for head, cells in columns if any(cells)]


def table(result: dict[str, Any]) -> Table:
    """Returns a result for a terminal."""
    out = Table(title=title(result), caption=result["hardware"])
    columns = _columns(result)
    for i, (head, _) in enumerate(columns):
        out.add_column(head, justify="right" if i > 1 else "left")
    for row in zip(*(cells for _, cells in columns), strict=True):
        out.add_row(*row)
    return out


def markdown(result: dict[str, Any]) -> str:
    """Returns a result for a document."""
    columns = _columns(result)
    lines = [[head for head, _ in columns], ["---"] * len(columns)]
    lines += [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
