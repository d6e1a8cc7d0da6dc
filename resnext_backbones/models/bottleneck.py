"""ResNeXt consists of one residual block, many times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from resnext_backbones.compute.activations import NONE, activation_of
from resnext_backbones.compute.conv_norm import Step, activate, call, conv_norms
from resnext_backbones.compute.folding import can_fold
from resnext_backbones.compute.fuse import fuse_
from resnext_backbones.compute.plain import is_observed
from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.parts.poolings import POOLINGS
from resnext_backbones.models.parts.self_attention import BottleneckAttention
from resnext_backbones.models.parts.shortcuts import SHORTCUTS
from resnext_backbones.models.recompute import BLOCK, INNER, attended, computed_again

LARGE = (0, 1)
"""Of maps in these stages attention behind the third convolution does not keep its input: they are
the largest, and no dearer to compute again from the third convolution's input than others."""


class Bottleneck(nn.Module):
    """Adds a 1x1, a grouped 3x3 and a 1x1 convolution to a shortcut.

    It is Figure 3(c) of Xie et al. (2017):

        x -> conv1 1x1 -> norm1, ReLU -> conv2 3x3, C groups -> norm2, ReLU -> conv3 1x1 -> norm3
          -> + shortcut(x) -> ReLU

    The shortcut is the identity where the shape stays, else one of `parts.shortcuts.SHORTCUTS`.
    Plugins run behind the convolution that they name, its norm and its ReLU.

    Args:
        architecture, stage: of the network, and the block's own in it, from 0.
        in_channels: of the input.
        layers, conv3x3: the factories of its layers, and that of its 3x3 convolution.
        spatial: of `parts.spatial`, builds what stands in the place of that convolution, its norm
            and its ReLU, if anything does.
        stride, dilation: of the 3x3 convolution; with `stride_in_1x1`, `conv1` strides instead, and
            where the network pools in its blocks, what pools behind the 3x3 one does.
        drop_path: chance that the residual branch is left out in training, for each image.
        recompute: of `recompute.MODES`, what is kept for the backward pass.
    """

    def __init__(
        self,
        architecture: Architecture,
        stage: int,
        in_channels: int,
        layers: Layers,
        *,
        stride: int,
        dilation: int,
        conv3x3: Conv,
        spatial: Callable[..., nn.Module] | None,
        plugins: Sequence[Plugin],
        drop_path: float,
        recompute: str,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path else None
        self.fold_norm = layers.fold_norm
        self.relu = layers.activation()
        width, out_channels = architecture.width(stage), architecture.block_channels(stage)
        norms = [f"{layers.norm.name}{i}" for i in (1, 2, 3)]
        stride1, stride2 = (stride, 1) if architecture.stride_in_1x1 else (1, stride)
        pool = POOLINGS[architecture.pooling].in_blocks
        if pool is not None and stride2 != 1:
            pooled = partial(pool, stride2)
            plugins = [Plugin(2, lambda _: ("pool", pooled()), required=True), *plugins]
            stride2 = 1
        geometry = {"groups": architecture.groups(stage), "stride": stride2, "dilation": dilation}

        self.conv1 = layers.conv(in_channels, width, 1, stride=stride1)
        self.add_module(norms[0], layers.norm(width))
        self._is_plain = spatial is None
        if spatial is None:
            self.conv2 = conv3x3(width, width, 3, padding=dilation, **geometry)
            self.add_module(norms[1], layers.norm(width))
        else:
            self.conv2 = spatial(width, layers, **geometry)
        self.conv3 = layers.conv(width, out_channels, 1)
        self.add_module(norms[2], layers.norm(out_channels))
        self.downsample: Steps | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = SHORTCUTS[architecture.shortcut]
            self.downsample = shortcut(in_channels, out_channels, stride, layers)

        behind: list[list[str]] = [[], [], []]
        # What begins the keys that a plain network's weights do not have.
        inner = self.conv2.named_children() if self._is_plain else ()
        self.added = [f"conv2.{name}." for name, _ in inner]
        self._attentions: set[str] = set()
        self._before_attention: set[str] = set()
        for plugin in plugins:
            name, module = plugin.build(out_channels if plugin.after == 3 else width)
            if hasattr(self, name):
                raise ValueError(f"plugins: {name!r} is in the block already; give it a postfix")
            self.add_module(name, module)
            behind[plugin.after - 1].append(name)
            if not plugin.required:
                self.added.append(f"{name}.")
            if plugin.again:
                self._attentions.add(name)
            if plugin.after == 3 and plugin.required and stage in LARGE:
                self._before_attention.add("conv3")
        # By their names: a convolution, its norm, and what is called behind the two.
        self._branch = list(zip(("conv1", "conv2", "conv3"), norms, behind, strict=True))
        if not self._is_plain:
            self._branch[:2] = [("conv1", norms[0], [*behind[0], "conv2", *behind[1]])]
        self.set_recompute(recompute)

    def set_recompute(self, recompute: str) -> None:
        """Chooses what is kept for the backward pass, of `recompute.MODES`."""
        # In a strided block h1 is the largest; else h2 takes fewer multiplications than h1.
        cheaper = "conv1" if self.stride != 1 else "conv2"
        self._again = {BLOCK: {"conv1", "conv2"}, INNER: {cheaper}}.get(recompute, set())
        # Else the block is computed again, and the attention with it.
        self._attended = set() if recompute else self._attentions
        self._made_again = set() if recompute else self._before_attention

    @property
    def last_norm(self) -> nn.Module:
        """Finds the norm in front of the addition, which zero initialisation is about."""
        return self.get_submodule(self._branch[-1][1])

    def own_layers(self) -> list[nn.Module]:
        """Returns convolutions and norms, but neither plugins nor what is in a convolution."""
        pairs = [self.get_submodule(name) for *pair, _ in self._branch for name in pair]
        part: Any = self.conv2
        instead = () if self._is_plain else part.own_layers()
        return [*pairs, *instead, *(self.downsample or ())]

    def fuse_(self) -> None:
        """Puts one convolution in the place of each convolution and its norm, for inference."""
        for conv, norm, _ in self._branch:
            fuse_(self, conv, norm)
        for module in self.modules():
            if isinstance(module, Steps | BottleneckAttention):
                module.fuse_()

    def until_sum(
        self, x: Tensor, activation: nn.Module | None = None, again: Collection[str] = ()
    ) -> Tensor:
        """Returns the branch and the shortcut, added, behind an activation if there is one.

        Args:
            again: the backward pass computes the outputs of these convolutions again.
        """
        shortcut = x if self.downsample is None else self.downsample(x)
        run = partial(conv_norms, fold=self.fold_norm)
        out, steps = x, []
        for conv, norm, plugins in self._branch:
            relu = None if conv == "conv3" else self.relu
            made_again = conv in again or conv in self._made_again
            steps.append(Step(getattr(self, conv), getattr(self, norm), relu, made_again))
            if plugins:
                out, steps = run(out, steps), []
            for name in plugins:
                out = (attended if name in self._attended else call)(getattr(self, name), out)
        if steps and self.drop_path is None:
            steps[-1] = steps[-1]._replace(activation=activation)
            return run(out, steps, shortcut=shortcut)
        out = run(out, steps) if steps else out
        if self.drop_path is not None:
            out = self.drop_path(out)
        out = out + shortcut  # a plugin may keep its output for the backward pass
        return activate(out, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        if not self._again or not torch.is_grad_enabled() or is_observed(x) or self._folds():
            return self.until_sum(x, self.relu, self._again)
        return computed_again([self], x)

    def _folds(self) -> bool:
        """Returns whether its three convolutions are one node of autograd's graph, which computes
        again what it does not keep.
        """
        return (
            self.fold_norm
            and not torch.compiler.is_compiling()
            and activation_of(self.relu) is not NONE
            and not any(plugins for *_, plugins in self._branch)
            and all(can_fold(getattr(self, c), getattr(self, n)) for c, n, _ in self._branch)
        )
