"""Measures what a device can do at best: matrix products and copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from benchmarks.clock import seconds
from benchmarks.job import PRECISIONS, set_tf32

MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = 2**28
TRIES = 10


def limits(device: str, precisions: Iterable[str]) -> dict[str, Any]:
    """Returns GFLOP/s of a square matrix product in each precision, and GB/s of a copy.

    The copy counts what it reads and what it writes. Each is the best of ten.
    """
    size = MATRIX_SIZE.get(torch.device(device).type, 2048)
    products = {}
    for precision in sorted(precisions):
        set_tf32(precision)
        a = torch.randn(size, size, device=device).to(PRECISIONS[precision])
        products[precision] = 2 * size**3 / _best(partial(torch.matmul, a, a), device) / 1e9
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device).zero_()
    target = torch.empty_like(source)
    copied = 2 * COPIED_BYTES / _best(partial(target.copy_, source), device)
    return {"matrix_gflops": products, "copy_gb_per_second": copied / 1e9}


def _best(function: Callable[[], object], device: str) -> float:
    return min(seconds(function, device) for _ in range(TRIES))
