"""A cross stage sends half of the channels past its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.recompute import in_pairs


class CrossStage(nn.Module):
    """Runs blocks on one half of the channels: Wang et al. (2020), CSPNet, section 3, as timm.

        x -> conv_down 3x3, C groups -> conv_exp 1x1, which has no activation -> halves a and b
        b -> blocks -> conv_transition_b 1x1
          -> a and b -> conv_transition 1x1

    Blocks are called by their numbers, as in a plain stage; the other names are timm's.

    Args:
        in_channels, out_channels: of the stage.
        blocks: in order; they keep the shape of half of `out_channels`.
        layers: the factories of its layers.
        groups, stride, dilation: of `conv_down`, which is there if `downsamples`.
        pairs: whether only the input of every second block is kept for the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: Sequence[Bottleneck],
        layers: Layers,
        *,
        downsamples: bool,
        groups: int,
        stride: int,
        dilation: int,
        pairs: bool,
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self._numbers = [str(i) for i in range(len(blocks))]
        self._pairs = pairs
        self.conv_down: Steps | None = None
        if downsamples:
            geometry: dict[str, Any] = {"stride": stride, "padding": dilation, "dilation": dilation}
            self.conv_down = layers.step(
                in_channels,
                in_channels,
                3,
                groups=groups,
                **geometry,
                activation=layers.activation(),
            )
        self.conv_exp = layers.step(in_channels, out_channels, 1)
        for name, block in zip(self._numbers, blocks, strict=True):
            self.add_module(name, block)
        self.conv_transition_b = layers.step(half, half, 1, activation=layers.activation())
        self.conv_transition = layers.step(
            out_channels, out_channels, 1, activation=layers.activation()
        )

    def _steps(self) -> list[Steps]:
        """Returns what it has beside its blocks."""
        found = self.conv_down, self.conv_exp, self.conv_transition_b, self.conv_transition
        return [steps for steps in found if steps is not None]

    def __getitem__(self, index: int) -> nn.Module:
        """Returns a block."""
        return self.get_submodule(self._numbers[index])

    def own_layers(self) -> list[nn.Module]:
        """Returns convolutions and norms beside its blocks."""
        return [layer for steps in self._steps() for layer in steps]

    def fuse_(self) -> None:
        """Puts one convolution in the place of each convolution and its norm beside its blocks."""
        for steps in self._steps():
            steps.fuse_()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        x = x if self.conv_down is None else self.conv_down(x)
        past, half = self.conv_exp(x).chunk(2, 1)
        half = half.clone()  # dense, in the order of memory that it has
        blocks = [self.get_submodule(name) for name in self._numbers]
        if self._pairs:
            half = in_pairs(blocks, half)
        else:
            for block in blocks:
                half = block(half)
        return self.conv_transition(torch.cat((past, self.conv_transition_b(half)), 1))
