"""Measures which grouped convolutions are faster with merged groups: `compute.grouped.FASTEST`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from typing import Any, TypeVar

import torch

from benchmarks.clock import device_seconds
from benchmarks.job import PRECISIONS
from benchmarks.provenance import provenance
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import PLAIN, Ways, grouped_conv2d, grouped_gradients
from resnext_backbones.variants import VARIANTS

K = TypeVar("K")

NETWORKS = ("resnext101_32x4d", "resnext101_64x4d", "resnext101_32x8d")
IMAGES = ((1, 800, 1344), (8, 224, 224))
"""Batch, height and width: a detector's, and a classifier's."""

MERGED = (1, 2, 4, 8, 16)
"""Groups that are computed as one."""

WIDEST = 64
"""Channels a merged group: with more, zeros are most of the work."""

MARGIN = 0.9
"""Another way must take at most this part of the plain call's time, over all shapes."""

NOISE = 1.05
"""And for no shape more than this."""

SHAPE = ("batch", "channels", "groups", "height", "width", "stride")


def shapes() -> list[dict[str, int]]:
    """The distinct 3x3 convolutions of stages 1 to 4 of the networks, on both kinds of images."""
    found: dict[tuple[int, ...], None] = {}
    for name in NETWORKS:
        groups, base_width = VARIANTS[name].cardinality, VARIANTS[name].base_width
        for batch, height, width in IMAGES:
            for stage in range(4):
                channels = groups * base_width * 2**stage
                size = height // 4 // 2**stage, width // 4 // 2**stage
                before = size if stage == 0 else (size[0] * 2, size[1] * 2)
                for stride, (h, w) in ((1, size), (1 if stage == 0 else 2, before)):
                    found[batch, channels, groups, h, w, stride] = None
    return [dict(zip(SHAPE, shape, strict=True)) for shape in found]


def measure(
    device: str, precisions: Iterable[str], *, turns: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Seconds of the three passes of each shape, in every way that the device has.

    What is compared takes turns; the medians are kept.
    """
    rows = []
    for precision in precisions:
        for shape in shapes():
            say(f"{precision} {shape}")
            passes = _passes(shape, device, PRECISIONS[precision])
            medians: dict[str, dict[str, float]] = {}
            for (name, merged), median in in_turn(passes, turns, device).items():
                medians.setdefault(name, {})[str(merged)] = median
            rows.append({"precision": precision, **shape, "seconds": medians})
    return {"device": device, "rows": rows, **provenance(device)}


def _passes(
    shape: dict[str, int], device: str, dtype: torch.dtype
) -> dict[tuple[str, int], Callable[[], Any]]:
    """Returns what is timed, by pass and merged groups."""
    batch, channels, groups, height, width, stride = (shape[key] for key in SHAPE)
    geometry = Geometry((stride, stride), (1, 1), (1, 1), groups)
    settings: dict[str, Any] = {"device": device, "dtype": dtype}
    x = torch.randn(batch, channels, height, width, **settings)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels // groups, 3, 3, **settings)
    weight = weight.contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(grouped_conv2d(x, weight, None, geometry, 1))
    backward = partial(grouped_gradients, grad, x, weight, geometry)
    passes: dict[tuple[str, int], Callable[[], Any]] = {}
    for merged in MERGED:
        if groups % merged == 0 and (merged == 1 or merged * channels // groups <= WIDEST):
            passes["forward", merged] = partial(grouped_conv2d, x, weight, None, geometry, merged)
            passes["grad_input", merged] = partial(backward, merged, (True, False, False))
            passes["grad_weight", merged] = partial(backward, merged, (False, True, False))
    return passes


@torch.no_grad()
def in_turn(functions: dict[K, Callable[[], Any]], turns: int, device: str) -> dict[K, float]:
    """Median seconds of each function; they take turns, after one that warms up."""
    taken: dict[K, list[float]] = {key: [] for key in functions}
    for turn in range(turns + 1):
        for key, function in functions.items():
            lasted = device_seconds(function, device)
            if turn:
                taken[key].append(lasted)
    return {key: statistics.median(values) for key, values in taken.items()}


def choose(result: dict[str, Any]) -> dict[tuple[str, torch.dtype], dict[int, Ways]]:
    """The table that the measurements ask for, in the form of `compute.grouped.FASTEST`."""
    device = torch.device(result["device"]).type
    table: dict[tuple[str, torch.dtype], dict[int, Ways]] = {}
    for (precision, width), rows in _by_width(result).items():
        chosen = table.setdefault((device, PRECISIONS[precision]), {})
        passes = (_medians(rows, name) for name in Ways._fields)
        if (ways := Ways(*map(_fastest, passes))) != PLAIN:
            chosen[width] = ways
    return table


def _medians(rows: Sequence[dict[str, Any]], name: str) -> list[dict[int, float]]:
    """Returns the seconds of a pass by merged groups."""
    return [{int(merged): s for merged, s in row["seconds"][name].items()} for row in rows]


def _fastest(medians: Sequence[dict[int, float]]) -> int:
    """Returns how many groups are best merged, of measurements over several shapes."""
    best, best_mean = 1, MARGIN
    for merged in medians[0]:
        mean, worst = _ratios(medians, merged)
        if mean < best_mean and worst <= NOISE:
            best, best_mean = merged, mean
    return best


def _ratios(medians: Sequence[dict[int, float]], merged: int) -> tuple[float, float]:
    """Returns the geometric mean and the largest of the seconds over those of the plain call."""
    ratios = [m[merged] / m[1] for m in medians]
    return prod(ratios) ** (1 / len(ratios)), max(ratios)


def markdown(result: dict[str, Any]) -> str:
    """Returns what was measured of every width and pass: seconds over the plain call's."""
    measured = {int(merged) for row in result["rows"] for merged in row["seconds"]["forward"]}
    ways = sorted(measured - {1})
    head = ["precision", "channels a group", "pass", *(f"{merged} merged" for merged in ways)]
    lines = [head, ["---"] * len(head)]
    for (precision, width), rows in _by_width(result).items():
        for name in Ways._fields:
            medians = _medians(rows, name)
            ratios = [_ratios(medians, way) if way in medians[0] else None for way in ways]
            if any(ratios):
                cells = [f"{r[0]:.2f} (at most {r[1]:.2f})" if r else "" for r in ratios]
                lines.append([precision, str(width), name.replace("_", " of "), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_width(result: dict[str, Any]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of each precision and number of channels a group."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        key = row["precision"], row["channels"] // row["groups"]
        found.setdefault(key, []).append(row)
    return dict(
        sorted(found.items(), key=lambda item: (list(PRECISIONS).index(item[0][0]), item[0][1]))
    )
