"""The stages of a network: what each is built with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.options import check_probability, per_stage, positive_integers
from resnext_backbones.models.parts.attention import ATTENTION, NAMES
from resnext_backbones.models.parts.stems import STEMS


@dataclass(frozen=True)
class Stage:
    """A stage that can be built.

    Attributes:
        architecture: of the network.
        index: of the stage, from 0.
        layers: the factories of its convolutions, norms and activations.
        conv3x3: builds its 3x3 convolutions.
        plugins: that each of its blocks runs.
        stride: of its first block.
        total_stride: pixels of the image to one of its output.
        dilation: of its blocks.
        first_dilation: of its first block.
        drop_path: chance of each block that its residual branch is left out in training.
        recompute: whether the backward pass computes its blocks again.
    """

    architecture: Architecture
    index: int
    layers: Layers
    conv3x3: Conv
    plugins: tuple[Plugin, ...]
    stride: int
    total_stride: int
    dilation: int
    first_dilation: int
    drop_path: Sequence[float]
    recompute: bool

    def build(self) -> nn.Sequential:
        """Returns the blocks: (N, C_in, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        return nn.Sequential(*(self._block(i) for i in range(len(self.drop_path))))

    def _block(self, i: int) -> Bottleneck:
        a, first = self.architecture, i == 0
        before = a.out_channels(self.index - 1) if self.index else a.stem_out_channels
        out_channels = a.out_channels(self.index)
        return Bottleneck(
            before if first else out_channels,
            a.width(self.index),
            out_channels,
            cardinality=a.cardinality,
            stride=self.stride if first else 1,
            dilation=self.first_dilation if first else self.dilation,
            stride_in_1x1=a.stride_in_1x1,
            shortcut=a.shortcut,
            layers=self.layers,
            conv3x3=self.conv3x3,
            plugins=self.plugins,
            drop_path=self.drop_path[i],
            recompute=self.recompute,
        )


def stage_options(
    architecture: Architecture,
    layers: Layers,
    *,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    contract_dilation: bool,
    conv3x3: Sequence[Conv | None] | None,
    plugins: Sequence[Sequence[Plugin]] | None,
    drop_path: float,
    recompute: bool,
) -> list[Stage]:
    """Returns the stages of a network; arguments as of `ResNeXt`.

    Raises:
        ValueError: an argument is out of its range, or has not one value for each stage.
    """
    blocks = architecture.blocks
    n = len(blocks)
    check_probability("drop_path", drop_path)
    each_stride = positive_integers("strides", per_stage("strides", strides, n, (1, 2, 2, 2)[:n]))
    each_dilation = positive_integers("dilations", per_stage("dilations", dilations, n, (1,) * n))
    each_conv3x3 = per_stage("conv3x3", conv3x3, n, (None,) * n)
    each_plugins = per_stage("plugins", plugins, n, ((),) * n)
    chances = iter(torch.linspace(0, drop_path, sum(blocks), device="cpu").tolist())
    stages, total = [], STEMS[architecture.stem].stride
    for i in range(n):
        stride, dilation = each_stride[i], each_dilation[i]
        total *= stride
        stages.append(
            Stage(
                architecture,
                i,
                layers,
                each_conv3x3[i] or layers.conv,
                (*_attention(architecture), *each_plugins[i]),
                stride,
                total,
                dilation,
                dilation // 2 if contract_dilation and dilation > 1 else dilation,
                [next(chances) for _ in range(blocks[i])],
                recompute,
            )
        )
    return stages


def _attention(architecture: Architecture) -> tuple[Plugin, ...]:
    if not architecture.attention:
        return ()
    after = architecture.attention_after
    return (Plugin(after, partial(_build, architecture.attention, NAMES[after]), required=True),)


def _build(kind: str, name: str, channels: int) -> tuple[str, nn.Module]:
    return name, ATTENTION[kind](channels)
