"""A table has the fastest way of each pass of a layer's convolution, and goes into a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from resnext_backbones.compute.calls import PLAIN, Layer
from resnext_backbones.compute.geometry import Geometry

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
"""A table has the ways of each layer by the pixels of its input, N x H x W, in the measurement."""


def merge(known: Table, chosen: Table) -> Table:
    """Returns a table with what was measured last of each pass."""
    merged = {layer: dict(rows) for layer, rows in known.items()}
    for layer, rows in chosen.items():
        own = merged.setdefault(layer, {})
        for pixels, ways in rows.items():
            pairs = zip(own.get(pixels, NOT_MEASURED), ways, strict=True)
            own[pixels] = Ways(*(old if new == UNKNOWN else new for old, new in pairs))
    return merged


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
