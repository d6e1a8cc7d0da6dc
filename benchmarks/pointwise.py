"""Measures whether 1x1 convolutions train faster with products: `compute.pointwise.PRODUCTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import Any

import torch

from benchmarks.grouped import IMAGES, MARGIN, NETWORKS, NOISE, in_turn
from benchmarks.job import PRECISIONS
from benchmarks.provenance import provenance
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import grouped_gradients
from resnext_backbones.compute.pointwise import product_gradients
from resnext_backbones.variants import VARIANTS

GEOMETRY = Geometry((1, 1), (0, 0), (1, 1), 1)

FEWEST = (64, 128, 256, 512)
"""Channels of input and output from which on products may be used."""

SHAPE = ("batch", "in_channels", "out_channels", "height", "width")


def shapes() -> list[dict[str, int]]:
    """The distinct 1x1 convolutions of stages 1 to 4 that do not stride, on both image sizes."""
    found: dict[tuple[int, ...], None] = {}
    for name in NETWORKS:
        for batch, height, width in IMAGES:
            quarter = height // 4, width // 4
            before, size_before = 64, quarter
            for stage in range(4):
                inner = VARIANTS[name].cardinality * VARIANTS[name].base_width * 2**stage
                outer = 256 * 2**stage
                size = height // 4 // 2**stage, width // 4 // 2**stage
                found[(batch, before, inner, *size_before)] = None
                found[(batch, inner, outer, *size)] = None
                found[(batch, outer, inner, *size)] = None
                before, size_before = outer, size
            found[(batch, 64, 256, *quarter)] = None  # the first projection
    return [dict(zip(SHAPE, shape, strict=True)) for shape in found]


def measure(
    device: str, precisions: Iterable[str], *, turns: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Seconds of the backward pass of each shape, by PyTorch's convolution and by products.

    The two take turns; the medians are kept.
    """
    rows = []
    for precision in precisions:
        for shape in shapes():
            say(f"{precision} {shape}")
            medians = in_turn(_ways(shape, device, PRECISIONS[precision]), turns, device)
            rows.append({"precision": precision, **shape, "seconds": medians})
    return {"device": device, "rows": rows, **provenance(device)}


def _ways(shape: dict[str, int], device: str, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    batch, in_channels, out_channels, height, width = (shape[key] for key in SHAPE)
    settings: dict[str, Any] = {"device": device, "dtype": dtype}
    x, grad = (
        torch.randn(batch, channels, height, width, **settings).contiguous(
            memory_format=torch.channels_last
        )
        for channels in (in_channels, out_channels)
    )
    weight = torch.randn(out_channels, in_channels, 1, 1, **settings)
    needed = True, True, True
    return {
        "convolution": partial(grouped_gradients, grad, x, weight, GEOMETRY, 1, needed),
        "products": partial(product_gradients, grad, x, weight, needed),
    }


def choose(result: dict[str, Any]) -> dict[tuple[str, torch.dtype], int]:
    """Returns what the measurements ask for, in the form of `compute.pointwise.PRODUCTS`."""
    device = torch.device(result["device"]).type
    found = {}
    for precision in _precisions(result):
        for fewest in FEWEST:
            mean, worst = _ratios(result, precision, fewest)
            if mean < MARGIN and worst <= NOISE:
                found[device, PRECISIONS[precision]] = fewest
                break
    return found


def _precisions(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["precision"] for row in result["rows"]))


def _ratios(result: dict[str, Any], precision: str, fewest: int) -> tuple[float, float]:
    """Geometric mean and largest of the products' seconds over the convolution's.

    Of those shapes whose input and output have that many channels.
    """
    ratios = [
        row["seconds"]["products"] / row["seconds"]["convolution"]
        for row in result["rows"]
        if row["precision"] == precision and min(row["in_channels"], row["out_channels"]) >= fewest
    ]
    return prod(ratios) ** (1 / len(ratios)), max(ratios)


def markdown(result: dict[str, Any]) -> str:
    """Seconds of the backward pass by products over those of the convolution."""
    head = ["precision", *(f"{fewest} channels or more" for fewest in FEWEST)]
    lines = [head, ["---"] * len(head)]
    for precision in _precisions(result):
        ratios = [_ratios(result, precision, fewest) for fewest in FEWEST]
        lines.append([precision, *(f"{mean:.2f} (at most {most:.2f})" for mean, most in ratios)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
