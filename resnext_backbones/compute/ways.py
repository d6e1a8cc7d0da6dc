"""Each pass of a convolution is computed in one of several ways, of which a table has the fastest.

`compute.tuning` measures it, for one device and the layers of one network. What no table has is
computed by PyTorch's plain call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnext_backbones.compute.calls import PLAIN, PRODUCT, Layer
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.plain import has_memory_format

UNKNOWN = "not measured"
"""A pass that was not measured has this in a way's place, and is plain."""

DEVICES = "cpu", "cuda"
"""On devices of these types ways are measured."""

PASSES = "forward", "grad_input", "grad_weight"


class Ways(NamedTuple):
    """Says in which way each of the three passes is computed."""

    forward: str = PLAIN
    grad_input: str = PLAIN
    grad_weight: str = PLAIN


ALL_PLAIN = Ways()
NOT_MEASURED = Ways(UNKNOWN, UNKNOWN, UNKNOWN)


Table = dict[Layer, dict[int, Ways]]
"""Of each layer the ways by the pixels of its input, N x H x W, with which they were measured."""

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
        from resnext_backbones.compute import tuned

        _tables[device] = tuned.read(device)
    return _tables[device]


def use(device: str, chosen: Table) -> None:
    """Puts a table in force; an empty one computes all convolutions by PyTorch's plain call."""
    _tables[device] = chosen


def merge(known: Table, chosen: Table) -> Table:
    """Returns a table with what was measured last of each pass."""
    merged = {layer: dict(rows) for layer, rows in known.items()}
    for layer, rows in chosen.items():
        own = merged.setdefault(layer, {})
        for pixels, ways in rows.items():
            pairs = zip(own.get(pixels, NOT_MEASURED), ways, strict=True)
            own[pixels] = Ways(*(old if new == UNKNOWN else new for old, new in pairs))
    return merged


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


def to_rows(chosen: Table) -> list[dict[str, Any]]:
    """Returns a table as plain values, for a file."""
    return [
        {
            "dtype": str(layer.dtype).removeprefix("torch."),
            "channels_last": layer.last,
            "weight": list(layer.weight),
            **layer.geometry._asdict(),
            "pixels": pixels,
            "ways": dict(zip(PASSES, ways, strict=True)),
        }
        for layer, rows in chosen.items()
        for pixels, ways in rows.items()
    ]


def from_rows(device: str, rows: Iterable[Mapping[str, Any]]) -> tuple[Table, list[str]]:
    """Returns the table that `to_rows` was given, for a type of device, and which ways of it are
    unknown here: in their place is the plain one.

    Raises:
        ValueError: rows are not of this form.
    """
    chosen: Table = {}
    unknown: list[str] = []
    try:
        for row in rows:
            stride, padding, dilation = (
                tuple(map(int, row[name])) for name in ("stride", "padding", "dilation")
            )
            geometry = Geometry(stride, padding, dilation, int(row["groups"]))
            weight = tuple(map(int, row["weight"]))
            dtype = getattr(torch, row["dtype"])
            layer = Layer(device, dtype, bool(row["channels_last"]), weight, geometry)
            names = [str(row["ways"][name]) for name in PASSES]
            known = {name for name in names if name == UNKNOWN or layer.has(name)}
            unknown += [name for name in names if name not in known]
            ways = Ways(*(name if name in known else PLAIN for name in names))
            if (pixels := int(row["pixels"])) < 1:
                raise ValueError(f"no table of ways: {pixels} pixels")
            chosen.setdefault(layer, {})[pixels] = ways
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no table of ways: {type(error).__name__}: {error}") from error
    return chosen, unknown
