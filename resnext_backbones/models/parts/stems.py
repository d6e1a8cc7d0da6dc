"""Stems: what comes before the first stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.layers import Layers

Modules = dict[str, nn.Module]
"""By their names in the network, in order."""


@dataclass(frozen=True)
class Stem:
    """A row of `STEMS`.

    Attributes:
        build: called with the channels in and out, and the factories.
        stride: pixels of the image to one of the output.
    """

    build: Callable[[int, int, Layers], Modules]
    stride: int


def _plain(size: int, stride: int, pool: bool) -> Callable[[int, int, Layers], Modules]:
    def build(in_channels: int, channels: int, layers: Layers) -> Modules:
        conv = layers.conv(
            in_channels, channels, size, stride=stride, padding=size // 2, bias=False
        )
        norm = {f"{layers.norm_name}1": layers.norm(channels)}
        return {"conv1": conv, **norm, "relu": layers.activation(), "maxpool": _pool(pool)}

    return build


def _deep(in_channels: int, channels: int, layers: Layers) -> Modules:
    half = channels // 2
    steps: list[nn.Module] = []
    widths = ((in_channels, half, 2), (half, half, 1), (half, channels, 1))
    for inner, outer, stride in widths:
        conv = layers.conv(inner, outer, 3, stride=stride, padding=1, bias=False)
        steps += [conv, layers.norm(outer), layers.activation()]
    return {"stem": Steps(*steps, fold=layers.fold_norm), "maxpool": _pool(True)}


def _pool(pool: bool) -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity()


STEMS: dict[str, Stem] = {
    "7x7": Stem(_plain(7, 2, pool=True), 4),  # Xie et al. (2017), Table 1
    "3x3": Stem(_plain(3, 1, pool=False), 1),  # for CIFAR: the same, section 5.3
    "deep": Stem(_deep, 4),  # three 3x3 convolutions: He et al. (2019), Figure 2(b)
}
