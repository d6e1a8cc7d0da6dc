"""Shortcuts change the shape beside a block: option B of He et al. (2016), section 3.3."""

from __future__ import annotations

from collections.abc import Callable

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts.poolings import average


def strided(in_channels: int, out_channels: int, stride: int, layers: Layers) -> Steps:
    """Returns a strided 1x1 convolution and its norm."""
    conv = layers.conv(in_channels, out_channels, 1, stride=stride)
    return Steps(conv, layers.norm(out_channels), fold=layers.fold_norm)


def pooled(in_channels: int, out_channels: int, stride: int, layers: Layers) -> Steps:
    """Returns an average pooling and a 1x1 convolution: He et al. (2019), Figure 2(c)."""
    return Steps(
        average(stride), *strided(in_channels, out_channels, 1, layers), fold=layers.fold_norm
    )


SHORTCUTS: dict[str, Callable[[int, int, int, Layers], Steps]] = {
    "strided": strided,
    "pooled": pooled,
}
"""Each is called with the channels in and out, the stride, and the factories."""
