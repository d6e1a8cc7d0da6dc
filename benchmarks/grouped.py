"""Grouped convolutions of a detector's step beside what the device could do at best.

python -m benchmarks.grouped --device cuda --precision bfloat16 --out docs/benchmarks

The limit of a pass is the longer of two times: to read its inputs and write its output once, at the
rate of a copy, and to multiply what it multiplies, at the rate of a matrix product.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.clock import device_seconds
from benchmarks.command import DEVICE, finish, parser_of
from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.job import HALF, PRECISIONS
from benchmarks.limits import limits
from benchmarks.provenance import provenance
from resnext_backbones.cli import run_tool
from resnext_backbones.commands.arguments import image_size
from resnext_backbones.compute.calls import PLAIN, Layer
from resnext_backbones.compute.convolution import forward, gradients
from resnext_backbones.compute.tables import PASSES
from resnext_backbones.compute.tuning import layers_of

TURNS = 7
NEEDED = {"grad_input": (True, False, False), "grad_weight": (False, True, False)}


def measure(
    variant: str, batch: int, size: tuple[int, int], *, device: str, precision: str
) -> dict[str, Any]:
    """Returns a row for each pass of each kind of grouped convolution that a detector trains."""
    dtype = PRECISIONS[precision]
    trunk = CONTESTANTS[OWN].frozen_trunk(variant).to(device)
    best = limits(device, [precision])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = folder  # nothing that was measured before counts
        work = layers_of(trunk, (batch, 3, *size), dtype)
        counts = _counts(trunk)
        for (layer, shape), passes in work.items():
            if layer.geometry.groups > 1:
                count = counts[layer.weight, layer.geometry.stride]
                for row in _rows(layer, shape, passes, device, best, precision):
                    rows.append({**row, "count": count})
    whole = sum(row["count"] * row["seconds"] for row in rows)
    for row in rows:
        row["part"] = row["count"] * row["seconds"] / whole
    height, width = size
    setting = {"variant": variant, "batch": batch, "height": height, "width": width}
    fraction = sum(r["count"] * r["seconds"] * r["fraction"] for r in rows) / whole
    return {
        "grouped": {**setting, "precision": precision, "fraction": fraction},
        "rows": sorted(rows, key=lambda row: -row["part"]),
        "limits": best,
        **provenance(device),
    }


def _counts(trunk: torch.nn.Module) -> dict[Any, int]:
    """Returns how many convolutions have a weight of one shape, and a stride."""
    found: dict[Any, int] = {}
    for module in trunk.modules():
        if isinstance(module, torch.nn.Conv2d):
            key = torch.Size(module.weight.shape), module.stride
            found[key] = found.get(key, 0) + 1
    return found


def _rows(
    layer: Layer,
    shape: torch.Size,
    passes: set[str],
    device: str,
    best: dict[str, Any],
    precision: str,
) -> Iterator[dict[str, Any]]:
    order = torch.channels_last if layer.last else torch.contiguous_format

    def random(*sides: int) -> torch.Tensor:
        return torch.randn(sides, device=device).to(layer.dtype).contiguous(memory_format=order)

    x, weight = random(*shape), random(*layer.weight)
    y = forward(x, weight, None, layer.geometry, PLAIN)
    grad = random(*y.shape)
    multiplied = 2 * y.numel() * weight[0].numel()
    moved = (x.numel() + weight.numel() + y.numel()) * x.element_size()
    at_best = {
        "copy": moved / best["copy_gb_per_second"] / 1e9,
        "matrix": multiplied / best["matrix_gflops"][precision] / 1e9,
    }
    limit = max(at_best, key=lambda name: at_best[name])
    for name in (each for each in PASSES if each in passes):
        taken = {way: _seconds(name, way, layer, x, weight, grad, device) for way in layer.ways()}
        way = min(taken, key=lambda each: taken[each])
        channels, width, *kernel = layer.weight
        yield {
            "layer": f"{channels} channels, {layer.geometry.groups} groups of {width}, "
            f"{'x'.join(map(str, kernel))}/{layer.geometry.stride[0]}, {shape[2]} x {shape[3]}",
            "pass": name,
            "way": way,
            "seconds": taken[way],
            "share": taken[way] / taken[PLAIN],
            "limit": limit,
            "fraction": at_best[limit] / taken[way],
            "ways": taken,
        }


def _seconds(
    name: str,
    way: str,
    layer: Layer,
    x: torch.Tensor,
    weight: torch.Tensor,
    grad: torch.Tensor,
    device: str,
) -> float:
    def run() -> None:
        if name == "forward":
            forward(x, weight, None, layer.geometry, way)
        else:
            gradients(grad, x, weight, layer.geometry, way, NEEDED[name])

    run()
    return sorted(device_seconds(run, device) for _ in range(TURNS))[TURNS // 2]


def main() -> None:
    parser = parser_of("grouped", __doc__)
    parser.add_argument("--variant", default="resnext101_32x4d")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=image_size, default=(800, 1344))
    parser.add_argument("--precision", choices=("float32", *HALF), default="bfloat16")
    parser.add_argument("--device", default=DEVICE)
    args = parser.parse_args()
    given = {"device": args.device, "precision": args.precision}
    result = measure(args.variant, args.batch, args.size, **given)
    finish("grouped", result, args.out, f"grouped_{args.variant}")
    print(f"{result['grouped']['fraction']:.2f} of the limit, weighed by time")


if __name__ == "__main__":
    run_tool(main)
