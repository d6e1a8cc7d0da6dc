"""Tables of networks and of published weights, and what is said of weights that were chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from resnext_backbones.complexity import costs, training_bytes
from resnext_backbones.compute.latency import Taken
from resnext_backbones.reports.units import columns
from resnext_backbones.weights.choose import Choice, Limits, gigabytes, milliseconds
from resnext_backbones.weights.registry import REGISTRY, Published

SHOWN = 3
"""So many weights stand for all that fell out for a reason."""

NUMBERS = (3, 4, 5)
"""These columns of a table stand on the right."""


class Line(NamedTuple):
    """Holds a line of a table; what is not known is None."""

    name: str
    network: str
    accuracy: str
    top1: float | None
    macs: int
    memory: int | None
    seconds: float | None
    licence: str


def of_weights(
    rows: Mapping[str, Published], limits: Limits, seconds: Mapping[str, float]
) -> list[Line]:
    """Returns a line for each alias."""
    return [
        _line(alias, row.variant, limits, seconds, row.accuracy, row.top1, row.source.licence)
        for alias, row in rows.items()
    ]


def of_networks(names: Iterable[str], limits: Limits, seconds: Mapping[str, float]) -> list[Line]:
    """Returns a line for each network, with the accuracy of its best weights, and their licence."""
    lines = []
    for name in names:
        rows = [row for row in REGISTRY.values() if row.variant == name and row.top1 is not None]
        best = max(rows, key=lambda row: row.top1 or 0, default=None)
        given = ("", None, "") if best is None else (best.accuracy, best.top1, best.source.licence)
        lines.append(_line(name, name, limits, seconds, *given))
    return lines


def _line(
    name: str,
    network: str,
    limits: Limits,
    seconds: Mapping[str, float],
    accuracy: str,
    top1: float | None,
    licence: str,
) -> Line:
    memory = training_bytes(network, images=limits.images, size=limits.size)
    macs = costs()[network].trunk_multiply_adds
    return Line(name, network, accuracy, top1, macs, memory, seconds.get(network), licence)


SORTED_BY: dict[str, Callable[[Line], Any]] = {
    "name": lambda line: line.name,
    "accuracy": lambda line: -(line.top1 or 0),
    "macs": lambda line: line.macs,
    "memory": lambda line: line.memory or float("inf"),
    "latency": lambda line: line.seconds or float("inf"),
    "licence": lambda line: line.licence,
}
"""Lines are sorted by these, the best first; those without a value are last."""


def ordered(lines: list[Line], by: str) -> list[Line]:
    """Returns lines in an order of `SORTED_BY`."""
    return sorted(lines, key=SORTED_BY[by])


def table(lines: list[Line], limits: Limits, taken: Taken) -> list[str]:
    """Returns a head, a line for each, and below what the numbers are of."""
    networks = all(line.name == line.network for line in lines)
    head = ("network" if networks else "weights", "" if networks else "network")
    cells = [(*head, "top-1 (%)", "GMACs", "GB", "ms", "licence")]
    for line in lines:
        cells.append(
            (
                line.name,
                "" if networks else line.network,
                line.accuracy,
                f"{line.macs / 1e9:.1f}",
                "" if line.memory is None else f"{line.memory / 1e9:.1f}",
                "" if line.seconds is None else milliseconds(line.seconds).removesuffix(" ms"),
                line.licence,
            )
        )
    shown = [i for i in range(len(cells[0])) if any(row[i] for row in cells[1:])]
    right = [place for place, i in enumerate(shown) if i in NUMBERS]
    rows = columns([[row[i] for i in shown] for row in cells], right)
    return [*rows, "", *_legend(limits, taken)]


def _legend(limits: Limits, taken: Taken) -> list[str]:
    height, width = limits.size
    lines = [
        "GMACs: multiply-adds of the trunk at 224 x 224, in billions",
        f"GB: the trunk's training step in float32, {limits.images} images of {height} x {width}, "
        "stem and stage 1 frozen; `resnext plan` has whole detectors",
    ]
    if taken.seconds:
        lines.append(f"ms: the trunk, one image of {height} x {width}, float32, on {taken.device}")
    else:
        lines.append(f"ms: nothing was measured here at {height} x {width}; --measure does")
    return lines


def chosen(choice: Choice, limits: Limits, device: str) -> list[str]:
    """Returns what was chosen, what it costs, and what became of the others."""
    row, cost = choice.best.row, costs()[choice.best.row.variant]
    height, width = limits.size
    memory = gigabytes(choice.best.memory)
    if limits.memory is not None:
        memory += f" of {gigabytes(limits.memory)}"
    lines = [
        row.alias,
        f"  network   {row.variant}: {cost.trunk_parameters / 1e6:.1f} M parameters, "
        f"{cost.trunk_multiply_adds / 1e9:.1f} G multiply-adds at 224 x 224",
        f"  accuracy  {row.accuracy} pixels: top-1 in percent on ImageNet-1k; COCO's order may be "
        "another",
        f"  licence   {row.source.licence}",
        f"  memory    {memory}: the trunk's training step in float32, {limits.images} images of "
        f"{height} x {width}; neck and heads come on top (`resnext plan`)",
    ]
    if choice.best.seconds is not None:
        most = f" of {milliseconds(limits.latency)}" if limits.latency is not None else ""
        lines.append(
            f"  latency   {milliseconds(choice.best.seconds)}{most}: the trunk, one image of "
            f"{height} x {width} in float32, on {device}"
        )
    lines += ["", f"of {choice.considered} weights these fell out:"]
    for reason, rows in sorted(choice.fell.items(), key=lambda each: -len(each[1])):
        lines.append(f"  {len(rows):4} {reason}: {_first(rows)}")
    if choice.rest:
        lines.append(f"  {len(choice.rest):4} less accurate: {_first(choice.rest)}")
    return [*lines, "", f'build_backbone("{row.variant}", weights="{row.alias}")']


def _first(rows: Sequence[Published]) -> str:
    """Returns the first few of them."""
    named = (f"{row.alias} ({row.top1:.1f})" if row.top1 else row.alias for row in rows[:SHOWN])
    return ", ".join(named) + (", ..." if len(rows) > SHOWN else "")
