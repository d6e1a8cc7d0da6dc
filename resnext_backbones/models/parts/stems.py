"""A stem comes before the first stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.layers import Layers


@dataclass(frozen=True)
class Stem:
    """Describes a stem.

    Attributes:
        build: called with the channels in and out, and the factories; returns modules in order, by
            their names in the network.
        stride: pixels of the image to one of the output.
    """

    build: Callable[[int, int, Layers], dict[str, nn.Module]]
    stride: int


def _plain(
    in_channels: int, channels: int, layers: Layers, *, size: int, stride: int, pool: bool
) -> dict[str, nn.Module]:
    conv = layers.conv(in_channels, channels, size, stride=stride, padding=size // 2)
    norm = {f"{layers.norm.name}1": layers.norm(channels)}
    return {"conv1": conv, **norm, "relu": layers.activation(), "maxpool": _pool(pool)}


def _deep(in_channels: int, channels: int, layers: Layers) -> dict[str, nn.Module]:
    half = channels // 2
    steps: list[nn.Module] = []
    for inner, outer, stride in ((in_channels, half, 2), (half, half, 1), (half, channels, 1)):
        conv = layers.conv(inner, outer, 3, stride=stride, padding=1)
        steps += [conv, layers.norm(outer), layers.activation()]
    return {"stem": Steps(*steps, fold=layers.fold_norm), "maxpool": _pool(True)}


def _pool(pool: bool) -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity()


STEMS: dict[str, Stem] = {
    "7x7": Stem(partial(_plain, size=7, stride=2, pool=True), 4),  # Xie et al. (2017), Table 1
    "3x3": Stem(partial(_plain, size=3, stride=1, pool=False), 1),  # for CIFAR: section 5.3
    "deep": Stem(_deep, 4),  # three 3x3 convolutions: He et al. (2019), Figure 2(b)
}
