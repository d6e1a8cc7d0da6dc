"""Modules in order, in which each convolution and the norm behind it are one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from resnext_backbones.compute.activations import KINDS
from resnext_backbones.compute.conv_norm import Step, call, conv_norms
from resnext_backbones.compute.fuse import fuse_


def run(x: Tensor, modules: Iterable[nn.Module], *, fold: bool) -> Tensor:
    """Returns what the modules make of `x`, one after the other.

    Args:
        x: (N, C, H, W).
        modules: a norm stands behind each convolution that is not in another module.
        fold: as of `conv_norms`.
    """
    waiting = list(modules)
    steps: list[Step] = []
    while waiting:
        module = waiting.pop(0)
        if isinstance(module, nn.Conv2d) and waiting:  # somebody may have taken the norm out
            norm = waiting.pop(0)
            follows = bool(waiting) and isinstance(waiting[0], tuple(KINDS))
            activation = waiting.pop(0) if follows else None
            steps.append(Step(module, norm, activation))
            continue
        if steps:
            x, steps = conv_norms(x, steps, fold=fold), []
        x = call(module, x)
    return conv_norms(x, steps, fold=fold) if steps else x


def fuse_pairs_(owner: nn.Module, names: Sequence[str]) -> None:
    """Puts one convolution in the place of each pair among an owner's modules, for inference.

    Raises:
        ValueError: a pair cannot be folded; it is named.
    """
    for first, second in pairwise(names):
        if isinstance(owner.get_submodule(first), nn.Conv2d):
            fuse_(owner, first, second)
    for name in names:
        if isinstance(inner := owner.get_submodule(name), Steps):
            inner.fuse_()


class Steps(nn.Sequential):
    """A sequence in which each convolution and the norm behind it are one step.

    Args:
        modules: in order, or an ordered mapping of their names, as of `torch.nn.Sequential`.
        fold: as of `conv_norms`.
    """

    def __init__(self, *modules: nn.Module, fold: bool = True) -> None:
        super().__init__(*modules)
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        return run(x, self, fold=self.fold)

    def fuse_(self) -> None:
        """Puts one convolution in the place of each pair."""
        fuse_pairs_(self, list(self._modules))
