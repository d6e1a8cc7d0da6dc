"""Every contestant in the settings that its users would try, of which the best one counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.job import COMPILED, PRECISIONS, TASKS, WAYS, Entry

HOPELESS = 1.5
"""A setting that takes so many times as long as its contestant's best has no other turn."""

CLOSE = 1.1
"""And from the third turn on what takes so many times as long, by the medians."""

FEWEST = 2

Row = dict[str, Any]


def entries(
    task: str,
    contestants: Iterable[str],
    precisions: Iterable[str],
    *,
    layouts: Sequence[str] | None = None,
    modes: Sequence[str] | None = None,
    ways: Sequence[str] | None = None,
) -> list[Entry]:
    """Returns the settings of contestants; those that are given take the place of the usual ones.

    As it comes this package's network keeps its channels last, and a peer's does not; each has the
    other memory format too.
    """
    found = []
    for contestant, precision in product(contestants, precisions):
        both = "own", "contiguous" if CONTESTANTS[contestant].layouts else "channels_last"
        settings = product(layouts or both, modes or TASKS[task].modes, ways or WAYS)
        found += [Entry(contestant, precision, *setting) for setting in settings]
    return found


def group(row: Row) -> tuple[str, ...]:
    """Returns what a row's setting is one of: a contestant in a precision. This package as it is
    tuned, and in plain ways, are two.
    """
    return row["contestant"], row["ways"], row["precision"]


def stages(wanted: Sequence[Entry]) -> list[Callable[[list[Row]], list[Entry]]]:
    """Returns functions from what was measured to the entries that come next: first all that
    need no compiler, then the others in the memory format that was faster without one.
    """
    quick = [entry for entry in wanted if entry.mode not in COMPILED]
    rest = [entry for entry in wanted if entry.mode in COMPILED]

    def compiled(rows: list[Row]) -> list[Entry]:
        best = {group(row): row["layout"] for row in fastest(rows)}
        return [
            entry for entry in rest if best.get(group(vars(entry)), entry.layout) == entry.layout
        ]

    return [lambda _: quick, compiled]


def fastest(rows: Sequence[Row]) -> list[Row]:
    """Returns the best setting of each contestant, in the order of the rows."""
    best: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if row["dropped"]:
            continue
        other = best.setdefault(group(row), row)
        if _median(row) < _median(other):
            best[group(row)] = row
    return [row for row in rows if best.get(group(row)) is row]


def slow(rows: Sequence[Row]) -> list[Row]:
    """Returns those that no further turn can make their contestant's best."""
    best = {group(row): _median(row) for row in fastest(rows)}

    def is_slow(row: Row) -> bool:
        most = CLOSE if len(row["seconds"]) >= FEWEST else HOPELESS
        return _median(row) > most * best[group(row)]

    return [row for row in rows if not row["dropped"] and is_slow(row)]


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Marks the best settings, and returns them in front of the others of their precision."""
    for row in rows:
        row["best"] = False
    for row in fastest(rows):
        row["best"] = True
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    return sorted(rows, key=lambda row: (precisions.index(row["precision"]), not row["best"]))


def add_ratios(rows: list[Row]) -> None:
    """Adds seconds over those of the fastest peer in the same precision, in its best setting."""
    for precision in PRECISIONS:
        same = [row for row in rows if row["precision"] == precision]
        peers = [row["median"] for row in same if is_peer(row) and not row["dropped"]]
        for row in same:
            row["ratio"] = row["median"] / min(peers) if peers else None


def is_peer(row: Row) -> bool:
    """Returns whether the row is of another implementation of the same network."""
    return CONTESTANTS[row["contestant"]].same_network and row["contestant"] != OWN


def _median(row: Row) -> float:
    return statistics.median(row["seconds"] or [row["trial"]])
