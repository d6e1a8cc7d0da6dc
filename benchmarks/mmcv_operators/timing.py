"""Time of a training step of Mask R-CNN on the CPU, with both sets of operators in turns."""

from __future__ import annotations

from functools import cache
from statistics import median
from typing import Any

import torch

from benchmarks.clock import seconds
from benchmarks.mmcv_operators.switch import OWN, REFERENCE, process_with

SIZE = 480, 800
BOUND = 1.05
"""The ratio of the medians of `OWN` and `REFERENCE` may be this."""


@cache
def _detector() -> torch.nn.Module:
    from benchmarks.mask_rcnn import MaskRCNN

    torch.manual_seed(0)
    return MaskRCNN("resnext101_32x4d", own=True)


def step() -> float:
    """Returns the seconds of losses and gradients for one image."""
    detector = _detector()
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))

    def train() -> None:
        detector.zero_grad()
        sum(detector(images)).backward()

    return seconds(train, "cpu")


def measure(turns: int, threads: int) -> dict[str, Any]:
    """Returns the seconds of each turn, the medians and their ratio; two steps warm up.

    Args:
        turns: steps of each that count.
        threads: of torch.
    """
    times: dict[str, list[float]] = {OWN: [], REFERENCE: []}
    with process_with(OWN, threads) as own, process_with(REFERENCE, threads) as reference:
        for _ in range(2 + turns):
            for name, process in ((OWN, own), (REFERENCE, reference)):
                times[name].append(process.submit(step).result())
    counted = {name: values[2:] for name, values in times.items()}
    medians = {name: median(values) for name, values in counted.items()}
    return {
        "step": f"Mask R-CNN, resnext101_32x4d, one image of {SIZE[0]}x{SIZE[1]}",
        "threads": threads,
        "seconds": counted,
        "medians": medians,
        "ratio": medians[OWN] / medians[REFERENCE],
        "bound": BOUND,
    }
