"""A stem comes before the first stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from resnext_backbones.compute.plain import has_memory_format
from resnext_backbones.compute.steps import Steps, run
from resnext_backbones.models.layers import Layers

Pool = Callable[[], nn.Module]


@dataclass(frozen=True)
class Stem:
    """Describes a stem.

    Attributes:
        build: called with the channels in and out, the factories, and what builds its pooling;
            returns modules in order, by their names in the network.
        stride: pixels of the image to one of the output.
        fewest: so many channels it has at least.
        pools: whether it ends in a pooling.
        then: the stride of the first stage behind it, which comes to 4 pixels in large images.
        alike: the stem that has the same tensors, if it is not this one.
    """

    build: Callable[[int, int, Layers, Pool], dict[str, nn.Module]]
    stride: int
    fewest: int = 1
    pools: bool = True
    then: int = 1
    alike: str = ""

    @property
    def unpooled(self) -> int:
        """The stride in front of its pooling."""
        return self.stride // 2 if self.pools else self.stride


def _plain(
    in_channels: int, channels: int, layers: Layers, pool: Pool, *, size: int, stride: int
) -> dict[str, nn.Module]:
    conv = layers.conv(in_channels, channels, size, stride=stride, padding=size // 2)
    norm = {f"{layers.norm.name}1": layers.norm(channels)}
    return {"conv1": conv, **norm, "relu": layers.activation(), "maxpool": pool()}


def deep_channels(kind: str, channels: int) -> tuple[int, ...]:
    """Returns the channels of each convolution of a stem of three; nothing for another kind."""
    return tuple(int(share * channels) for share in SHARES.get(kind, ()))


def _deep(
    in_channels: int, channels: int, layers: Layers, pool: Pool, *, kind: str
) -> dict[str, nn.Module]:
    steps: list[nn.Module] = []
    for outer, stride in zip(deep_channels(kind, channels), (2, 1, 1), strict=True):
        conv = layers.conv(in_channels, outer, 3, stride=stride, padding=1)
        steps += [conv, layers.norm(outer), layers.activation()]
        in_channels = outer
    return {"stem": Steps(*steps, fold=layers.fold_norm), "maxpool": pool()}


SHARES: dict[str, tuple[float, ...]] = {"deep": (1 / 2, 1 / 2, 1), "tiered": (3 / 8, 1 / 2, 1)}
"""The channels of stems of three 3x3 convolutions, as shares of those of the last one."""

STEMS: dict[str, Stem] = {
    "7x7": Stem(partial(_plain, size=7, stride=2), 4),  # Xie et al. (2017), Table 1
    "3x3": Stem(partial(_plain, size=3, stride=1), 1, pools=False),  # for CIFAR: section 5.3
    # Radosavovic et al. (2020), section 3.2.
    "3x3/2": Stem(partial(_plain, size=3, stride=2), 2, pools=False, then=2, alike="3x3"),
    "deep": Stem(partial(_deep, kind="deep"), 4, 2),  # He et al. (2019), Figure 2(b)
    "tiered": Stem(partial(_deep, kind="tiered"), 4, 3),  # timm's
}


def tensors_of(stem: str) -> str:
    """Returns the stem whose tensors a stem has, by name and shape: most have their own."""
    return STEMS[stem].alike or stem


def first_stride(stem: str) -> int:
    """Returns pixels of the image to one of the first stage's output, where it is as usual."""
    return STEMS[stem].stride * STEMS[stem].then


def channels_of(layers: Sequence[nn.Module]) -> int:
    """Returns the channels of the images that layers in a row take, some of which may be somebody's
    own: those of the first convolution, before pixels became channels of it; 0 is any.
    """
    share = 1
    for layer in layers:
        share *= getattr(layer, "downscale_factor", 1) ** 2  # of PixelUnshuffle
        if channels := getattr(layer, "in_channels", 0):
            return int(channels // share)
    return 0


def run_stem(
    images: Tensor, parts: Sequence[nn.Module], *, fold: bool, channels_last: bool
) -> Tensor:
    """Returns what parts of a stem make of images; `fold` and `channels_last` are `ResNeXt`'s."""
    if channels_last and has_memory_format(images):
        images = images.contiguous(memory_format=torch.channels_last)
    return run(images, parts, fold=fold)
