"""Each pass of a convolution is computed in one of several ways, of which a table has the fastest.

`compute.tuning` measures it, for one device and the layers of one network. What no table has is
computed by PyTorch's plain call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.compute import tuned
from resnext_backbones.compute.calls import PLAIN, PRODUCT, Layer
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.plain import has_memory_format
from resnext_backbones.compute.tables import ALL_PLAIN, Table, Ways

_tables: dict[str, Table] = {}
_recorder: Callable[[Layer, torch.Size, Iterable[str]], None] | None = None


def ways_of(
    x: Tensor, weight: Tensor, geometry: Geometry, passes: Iterable[str] = ("forward",)
) -> Ways:
    """Returns the fastest ways of a convolution.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, C_in / groups, kH, kW).
        passes: those that are about to be computed, for who records them.
    """
    if torch.jit.is_tracing() or not has_memory_format(x):
        return ALL_PLAIN
    last = x.is_contiguous(memory_format=torch.channels_last)
    if torch.compiler.is_compiling():
        known = x.device.type, x.dtype, last, tuple(weight.shape), *geometry
        return Ways(*_of_largest(*known))
    layer = Layer(x.device.type, x.dtype, last, weight.shape, geometry)
    if _recorder is not None:
        _recorder(layer, x.shape, passes)
    rows = table(layer.device).get(layer)
    return _nearest(rows, x.numel() // x.shape[1]) if rows else ALL_PLAIN


def _nearest(rows: Mapping[int, Ways], pixels: int) -> Ways:
    """Returns the ways that were measured with the most similar number of pixels."""
    if len(rows) == 1:
        return next(iter(rows.values()))
    log = math.log(max(pixels, 1))
    return rows[min(rows, key=lambda known: abs(math.log(known) - log))]


@torch._dynamo.assume_constant_result
def _of_largest(
    device: str, dtype: torch.dtype, last: bool, weight: tuple[int, ...], *geometry: Any
) -> tuple[str, ...]:
    """Returns the ways for the most pixels. A compiler takes them as they are when it meets a
    layer, for all sizes of images; it knows no named tuples, and breaks its graph where a product
    is written.
    """
    rows = table(device).get(Layer(device, dtype, last, weight, Geometry(*geometry)))
    forward, *gradients = rows[max(rows)] if rows else ALL_PLAIN
    return PLAIN if forward == PRODUCT else forward, *gradients


def table(device: str) -> Table:
    """Returns what is in force on a type of device: what `use` was given, or else this user's own
    choices, which are read when they are asked for first.
    """
    if device not in _tables:
        _tables[device] = tuned.read(device)
    return _tables[device]


def use(device: str, chosen: Table) -> None:
    """Puts a table in force; an empty one computes all convolutions by PyTorch's plain call."""
    _tables[device] = chosen


def forget(device: str) -> None:
    """Has this user's own choices be in force again, as they are when they are asked for next."""
    _tables.pop(device, None)


def is_recorded() -> bool:
    """Tells whether somebody records which passes are computed."""
    return _recorder is not None


@contextmanager
def recorded() -> Iterator[dict[tuple[Layer, torch.Size], set[str]]]:
    """Gives the passes of convolutions that are computed meanwhile, by layer and shape of input."""
    global _recorder
    found: dict[tuple[Layer, torch.Size], set[str]] = {}

    def record(layer: Layer, shape: torch.Size, passes: Iterable[str]) -> None:
        found.setdefault((layer, shape), set()).update(passes)

    before, _recorder = _recorder, record
    try:
        yield found
    finally:
        _recorder = before
