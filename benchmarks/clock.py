"""Measures how long something takes, on any device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

CYCLES_AHEAD = 4_000_000
"""Some 2 ms, in which a GPU does nothing and the processor launches what is timed."""


def seconds(function: Callable[[], object], device: str) -> float:
    """Returns those of one call, until the device has finished."""
    _synchronise(device)
    start = time.perf_counter()
    function()
    _synchronise(device)
    return time.perf_counter() - start


def device_seconds(function: Callable[[], object], device: str) -> float:
    """Returns those of one call as the device sees it: on a GPU without the time to launch it.

    A training step launches ahead of the GPU, so a kernel that is shorter than its launch is no
    slower for it.
    """
    if torch.device(device).type != "cuda":
        return seconds(function, device)
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(CYCLES_AHEAD)
        start.record()
        function()
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1e3


def _synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
