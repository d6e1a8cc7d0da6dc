"""Activations between steps that fold, and the one tensor that is kept of each.

ReLU's output tells where its input was positive, and is the next convolution's input as well.
SiLU's does not tell its input: that is kept, and the output computed from it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnext_backbones.compute.plain import computes_just


class Activation(NamedTuple):
    """Describes one by its function, and by what is kept of it."""

    function: Callable[[Tensor], Tensor]
    """As PyTorch's own, for whom differentiates it again."""
    output: Callable[[Tensor], Tensor]
    """Returns the output from what is kept."""
    backward: Callable[[Tensor, Tensor], Tensor]
    """Returns the input's gradient from the output's, which it overwrites, and what is kept."""


def _same(kept: Tensor) -> Tensor:
    return kept


def _same_gradient(grad: Tensor, kept: Tensor) -> Tensor:
    del kept
    return grad


def _silu_backward(grad: Tensor, z: Tensor) -> Tensor:
    return torch.ops.aten.silu_backward.grad_input(grad, z, grad_input=grad)


NONE = Activation(_same, _same, _same_gradient)
RELU = Activation(torch.relu, _same, _same_gradient)
"""The passes compute it forwards and backwards, with what else they do."""
SILU = Activation(functional.silu, functional.silu, _silu_backward)

KINDS: dict[type[nn.Module], Activation] = {nn.ReLU: RELU, nn.SiLU: SILU}


def activation_of(module: nn.Module | None) -> Activation:
    """Returns the row of a module that computes just what PyTorch's does; of all else `NONE`."""
    for kind, activation in KINDS.items():
        if computes_just(module, kind):
            return activation
    return NONE
