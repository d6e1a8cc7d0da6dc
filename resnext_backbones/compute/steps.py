"""Sequences of convolutions and norms."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from resnext_backbones.compute.conv_norm import call, conv_norm
from resnext_backbones.compute.fuse import fuse_


class Steps(nn.Sequential):
    """A sequence in which each convolution and the norm behind it are one step.

    Args:
        modules: in order.
        fold: as of `conv_norm`.
    """

    def __init__(self, *modules: nn.Module, fold: bool = True) -> None:
        super().__init__(*modules)
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        modules = list(self)
        while modules:
            module = modules.pop(0)
            if isinstance(module, nn.Conv2d):
                x = conv_norm(x, module, modules.pop(0), fold=self.fold)
            else:
                x = call(module, x)
        return x

    def fuse_(self) -> None:
        """Put one convolution in the place of each pair."""
        for first, second in pairwise(list(self._modules)):
            if isinstance(self.get_submodule(first), nn.Conv2d):
                fuse_(self, first, second)
