"""The stem of three 3x3 convolutions."""

from __future__ import annotations

from torch import nn

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.layers import Conv, Norm, make_norm


def deep_stem(
    in_channels: int, stem_channels: int, conv: Conv, norm: Norm, fold_norm: bool
) -> Steps:
    """Convolutions, norms and ReLUs: He et al. (2019), Figure 2(b). The first one strides."""
    half = stem_channels // 2
    widths = ((in_channels, half, 2), (half, half, 1), (half, stem_channels, 1))
    layers: list[nn.Module] = []
    for channels, out_channels, stride in widths:
        layers += [
            conv(channels, out_channels, 3, stride=stride, padding=1, bias=False),
            make_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        ]
    return Steps(*layers, fold=fold_norm)
