"""Measure what it takes of a step that nothing is remembered of weights, statistics and functions.

python -m benchmarks.current --variant resnext101_32x4d --size 224 --out docs/benchmarks

A detector's step (stem, stage 1 and all statistics frozen) is timed, and in it who follows it, what
folds, and the folding of what is frozen, which could be remembered. The clock itself counts too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from rich.console import Console

from benchmarks.clock import seconds
from benchmarks.command import DEVICE, parser_of
from benchmarks.provenance import provenance, save
from resnext_backbones import build_backbone
from resnext_backbones.cli import run_tool
from resnext_backbones.compute import conv_norm, passes
from resnext_backbones.models import bottleneck

CHECKS = ((conv_norm, "is_observed"), (bottleneck, "is_observed"), (conv_norm, "can_fold"))
"""Functions that are asked in every step."""


class Clock:
    """Adds up the seconds of some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, whose time counts."""

        def run(*arguments: Any) -> Any:
            start = time.perf_counter()
            found = function(*arguments)
            self.seconds += time.perf_counter() - start
            return found

        return run


@contextmanager
def clocked() -> Iterator[Clock]:
    """Counts the time of checks, and of folding what takes no gradient."""
    clock, found = Clock(), passes.passes_for
    checks = [(module, name, getattr(module, name)) for module, name in CHECKS]

    def passes_for(x: Any, foldings: Any) -> Any:
        chosen = found(x, foldings)
        frozen = not any(t.requires_grad for folding in foldings for t in folding.tensors())
        return Timed(chosen, clock) if frozen else chosen

    for module, name, function in checks:
        setattr(module, name, clock.timed(function))
    conv_norm.passes_for = passes_for
    try:
        yield clock
    finally:
        conv_norm.passes_for = found
        for module, name, function in checks:
            setattr(module, name, function)


class Timed:
    """Stands for a module of passes, whose `fold` is timed."""

    def __init__(self, chosen: Any, clock: Clock) -> None:
        self._chosen = chosen
        self.fold = clock.timed(chosen.fold)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)


def measure(variant: str, device: str, batch: int, size: int, turns: int) -> dict[str, Any]:
    """Returns the seconds of a step, and the share of it that the checks take: medians of turns."""
    network = build_backbone(variant, frozen_stages=1, norm_eval=True).to(device)
    images = torch.randn(batch, 3, size, size, device=device)

    def step() -> None:
        sum(output.mean() for output in network(images)).backward()
        network.zero_grad(set_to_none=True)

    steps, shares = [], []
    step()
    with clocked() as clock:
        for _ in range(turns):
            clock.seconds = 0.0
            steps.append(seconds(step, device))
            shares.append(clock.seconds / steps[-1])
    return {
        "variant": variant, "device": device, "batch": batch, "size": size, "turns": turns,
        "step_seconds": median(steps), "share": median(shares), **provenance(device),
    }  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = parser_of("current", __doc__)
    parser.add_argument("--variant", default="resnext101_32x4d")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--turns", type=int, default=9, help="default %(default)s")
    parser.add_argument("--device", default=DEVICE)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    result = measure(args.variant, args.device, args.batch, args.size, args.turns)
    console = Console()
    console.print(save(result, args.out, "current"), soft_wrap=True)
    console.print(f"{result['share']:.2%} of a step of {result['step_seconds']:.3f} s")


if __name__ == "__main__":
    run_tool(main)
