"""The ways to compute a convolution: one row each, with what it computes and by which calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnext_backbones.compute import onednn
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import grouped_conv2d, grouped_gradients
from resnext_backbones.compute.pointwise import product, product_gradients

PLAIN, ONEDNN, PRODUCT = "plain", "oneDNN", "product"
"""These are ways by their names, which files and tables have too."""

MERGED = {f"{count} groups as one": count for count in (2, 4, 8, 16)}
WIDEST = 64
"""So many groups are computed as one, up to so many channels: the more, the more zeros."""

Gradient = Tensor | None
Gradients = tuple[Gradient, Gradient, Gradient]


class Layer(NamedTuple):
    """Says what decides which ways a convolution has, and how long they take."""

    device: str
    """The type of the device."""
    dtype: torch.dtype
    last: bool
    """The input's channels are last in memory."""
    weight: tuple[int, ...]
    geometry: Geometry

    def ways(self) -> list[str]:
        """Returns those that differ here, the plain one first."""
        return [name for name, way in WAYS.items() if way.can(self) and way.differs()]

    def has(self, name: str) -> bool:
        """Returns whether it can be computed in a way of this name."""
        return name in WAYS and WAYS[name].can(self)

    def is_pointwise(self) -> bool:
        """Returns whether each output is of one pixel, and of all channels of it."""
        return tuple(self.weight[2:]) == (1, 1) and self.geometry.is_pointwise()


class Way(NamedTuple):
    """Computes the passes of a convolution."""

    can: Callable[[Layer], bool]
    """It computes such layers."""
    forward: Callable[[Tensor, Tensor, Tensor | None, Geometry], Tensor]
    """Takes input, weight and bias."""
    gradients: Callable[[Tensor, Tensor, Tensor, Geometry, Sequence[bool], Any], Gradients]
    """Takes the output's gradient, input, weight, geometry, which gradients are needed of input,
    weight and bias, and what is added to that of the input."""
    differs: Callable[[], bool] = lambda: True
    """The plain way is not the same now."""


def _merges(count: int, layer: Layer) -> bool:
    out_channels, channels, *_ = layer.weight
    groups = layer.geometry.groups
    is_even = groups % count == 0 and out_channels == channels * groups
    return is_even and count * channels <= WIDEST


def _merged(count: int) -> tuple[Any, Any]:
    return partial(grouped_conv2d, merged=count), partial(grouped_gradients, merged=count)


WAYS: dict[str, Way] = {
    PLAIN: Way(lambda _: True, *_merged(1)),
    ONEDNN: Way(
        lambda layer: onednn.is_there(layer.device, layer.dtype) and layer.is_pointwise(),
        onednn.pointwise_conv2d,
        onednn.pointwise_gradients,
        onednn.is_passed_by,
    ),
    PRODUCT: Way(lambda layer: layer.last and layer.is_pointwise(), product, product_gradients),
    **{name: Way(partial(_merges, count), *_merged(count)) for name, count in MERGED.items()},
}
"""The first one is PyTorch's call, which serves all convolutions."""
