"""The residual block of ResNeXt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from resnext_backbones.compute.conv_norm import Step, call, conv_norms
from resnext_backbones.compute.fuse import fuse_
from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.layers import Conv, Layers, Plugin
from resnext_backbones.models.parts.shortcuts import SHORTCUTS


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1 convolution and a shortcut: Figure 3(c) of Xie et al. (2017).

        x -> conv1 1x1 -> norm1, ReLU -> conv2 3x3, C groups -> norm2, ReLU -> conv3 1x1 -> norm3
          -> + shortcut(x) -> ReLU

    The shortcut is the identity where the shape stays. Plugins run behind the convolution that
    they name, its norm and its ReLU.

    Args:
        in_channels, width, out_channels: of the input, of the 3x3 convolution, of the output.
        cardinality: groups of the 3x3 convolution.
        stride, dilation: of the block; the dilation is that of the 3x3 convolution.
        stride_in_1x1: let `conv1` stride, as in He et al. (2016), and not `conv2`.
        shortcut: of `parts.shortcuts.SHORTCUTS`, where the shape changes.
        layers: the factories of the convolutions, norms and activations.
        conv3x3: builds the 3x3 convolution.
        plugins: that run in the block.
        drop_path: chance that the residual branch is left out in training, for each image.
        recompute: compute the activations again in the backward pass, and keep the input only.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        cardinality: int,
        stride: int,
        dilation: int,
        stride_in_1x1: bool,
        shortcut: str,
        layers: Layers,
        conv3x3: Conv,
        plugins: Sequence[Plugin],
        drop_path: float,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path else None
        self.fold_norm = layers.fold_norm
        self._norm_names = [f"{layers.norm_name}{i}" for i in (1, 2, 3)]
        stride1, stride2 = (stride, 1) if stride_in_1x1 else (1, stride)

        self.conv1 = layers.conv(in_channels, width, 1, stride=stride1, bias=False)
        self.add_module(self._norm_names[0], layers.norm(width))
        self.conv2 = conv3x3(
            width,
            width,
            3,
            stride=stride2,
            padding=dilation,
            dilation=dilation,
            groups=cardinality,
            bias=False,
        )
        self.add_module(self._norm_names[1], layers.norm(width))
        self.conv3 = layers.conv(width, out_channels, 1, bias=False)
        self.add_module(self._norm_names[2], layers.norm(out_channels))
        self.relu = layers.activation()

        self.downsample: Steps | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = SHORTCUTS[shortcut](in_channels, out_channels, stride, layers)
        self._added: list[str] = []
        self._plugin_names = self._add_plugins(plugins, width, out_channels)

    def _add_plugins(
        self, plugins: Sequence[Plugin], width: int, out_channels: int
    ) -> dict[int, list[str]]:
        names: dict[int, list[str]] = {1: [], 2: [], 3: []}
        for plugin in plugins:
            name, module = plugin.build(out_channels if plugin.after == 3 else width)
            if hasattr(self, name):
                raise ValueError(f"plugins: {name!r} is in the block already; give it a postfix")
            self.add_module(name, module)
            names[plugin.after].append(name)
            if not plugin.required:
                self._added.append(name)
        return names

    @property
    def last_norm(self) -> nn.Module:
        """The norm in front of the addition, the one that zero initialisation is about."""
        return self.get_submodule(self._norm_names[2])

    def own_layers(self) -> list[nn.Module]:
        """The convolutions and norms, but neither plugins nor what is inside a convolution."""
        names = ["conv1", "conv2", "conv3", *self._norm_names]
        return [self.get_submodule(name) for name in names] + list(self.downsample or ())

    def added_keys(self) -> list[str]:
        """Keys of the state dict that a plain network's weights do not have.

        They are those of plugins that are not required, and of modules inside the 3x3 convolution.
        """
        inside = tuple(f"conv2.{name}." for name, _ in self.conv2.named_children())
        added = inside + tuple(f"{name}." for name in self._added)
        if not added:  # as in most networks, of whose load this would be a part
            return []
        return [key for key in self.state_dict() if key.startswith(added)]

    def fuse_(self) -> None:
        """Put one convolution in the place of each convolution and its norm, for inference."""
        for i, norm in enumerate(self._norm_names, 1):
            fuse_(self, f"conv{i}", norm)
        for module in self.modules():
            if isinstance(module, Steps):
                module.fuse_()

    def _step(self, i: int, activation: nn.Module | None) -> Step:
        norm = getattr(self, self._norm_names[i - 1])
        return Step(getattr(self, f"conv{i}"), norm, activation)

    def _sum(self, x: Tensor, activation: nn.Module | None = None) -> Tensor:
        """The residual branch and the shortcut, behind an activation if there is one."""
        shortcut = x if self.downsample is None else self.downsample(x)
        run = partial(conv_norms, fold=self.fold_norm)
        out, steps = x, []
        for i in (1, 2):
            steps.append(self._step(i, self.relu))
            if self._plugin_names[i]:
                out, steps = self._plug(run(out, steps), i), []
        if self.drop_path is None and not self._plugin_names[3]:
            return run(out, [*steps, self._step(3, activation)], shortcut=shortcut)
        out = self._plug(run(out, [*steps, self._step(3, None)]), 3)
        if self.drop_path is not None:
            out = self.drop_path(out)
        out = out + shortcut  # a plugin may keep its output for the backward pass
        return out if activation is None else activation(out)

    def _plug(self, x: Tensor, i: int) -> Tensor:
        for name in self._plugin_names[i]:
            x = call(getattr(self, name), x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        # Also where the input needs no gradient: behind frozen stages the parameters still do.
        if not self.recompute or not torch.is_grad_enabled():
            return self._sum(x, self.relu)
        out = checkpoint(self._sum, x, use_reentrant=False, context_fn=self._contexts)
        return self.relu(out)

    def _contexts(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """For the forward pass, and for its repetition during the backward pass."""
        return nullcontext(), _running_statistics_kept(self)


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within it, batch norms in training mode leave their running statistics alone.

    A block whose forward pass is repeated would otherwise count every batch twice.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:  # SyncBatchNorm asks for one
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, momentum, counter in kept:
            norm.momentum, norm.num_batches_tracked = momentum, counter
