"""PyTorch's operators compute what surrounds a folded convolution, where Triton's do not.

`triton_passes` has the same functions, with one kernel a pass. Each module's `unfold` takes what
its own `backward` returns: there the gradient of the bias is in parts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from resnext_backbones.compute.calls import Gradient
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.folding import Folding
from resnext_backbones.compute.geometry import Geometry

TRITON = (
    find_spec("triton") is not None
    and torch.version.hip is None
    and any(map(which, (os.environ.get("CC", "cc"), "gcc", "clang")))
)
"""Triton is there, and the C compiler that it needs when it first computes."""

FIRST_CAPABILITY = 8, 0
"""GPUs compute in bfloat16 from this one on: Ampere."""

TYPES = torch.float32, torch.bfloat16, torch.float16

CACHED = 1 << 17
"""So many values of a weight stay in a core's cache from one operator to the next."""


def passes_for(x: Tensor, foldings: Sequence[Folding]) -> Any:
    """Returns the module whose functions serve these: this one, or `triton_passes`."""
    if (
        x.is_cuda
        and TRITON
        and forward_ad._current_level < 0  # a kernel computes no tangents
        and _has_memory(x)
        and x.dtype in TYPES
        and x.is_contiguous(memory_format=torch.channels_last)
        and _is_recent(x.device)
        and all(_can_be_read(folding, x.device) for folding in foldings)
    ):
        return import_module("resnext_backbones.compute.triton_passes")
    return sys.modules[__name__]


def _has_memory(tensor: Tensor) -> bool:
    """Returns whether it is a tensor as it is, neither fake nor wrapped by `torch.func`."""
    plain = type(tensor) is Tensor or type(tensor) is nn.Parameter
    return plain and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _can_be_read(folding: Folding, device: torch.device) -> bool:
    """Returns whether its values lie one behind the other in memory, as the kernels read them."""
    weight, *vectors = (tensor for tensor in folding[:-1] if tensor is not None)
    return (
        _has_memory(weight)
        and weight.dtype in TYPES
        and weight.device == device
        and (weight.is_contiguous(memory_format=torch.channels_last) or weight.is_contiguous())
        and all(
            _has_memory(vector)
            and vector.dtype in TYPES
            and vector.device == device
            and vector.shape == weight.shape[:1]
            and vector.is_contiguous()
            for vector in vectors
        )
    )


@cache
def _is_recent(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY


def fold(folding: Folding, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of the one convolution."""
    return folding.fold(dtype)


def keeps(weight: Tensor, x: Tensor) -> bool:
    """Returns whether the folded weight of a convolution of `x` is kept for the backward pass."""
    del weight, x
    return False


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Returns the convolution's output, plus the shortcut, behind ReLU if asked for.

    ReLU is not asked of oneDNN with the convolution: it makes 0 of what is no number.
    """
    y = conv2d(x, weight, bias, geometry)
    if shortcut is not None:
        y.add_(shortcut)
    return y.relu_() if relu else y


def backward(
    grad: Tensor,
    y: Tensor | None,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
    own: bool = False,
) -> tuple[Tensor, Gradient, Gradient, Gradient]:
    """Returns the gradients of shortcut, `x`, weight and bias.

    Args:
        grad: of the output.
        y: the output, where ReLU came last.
        x, weight, geometry: as they were convolved.
        needed: of x, weight and bias.
        onto: is added to the gradient of `x`.
        own: nobody else has `grad`, which is overwritten.
    """
    if y is not None:
        masked = torch.ops.aten.threshold_backward
        grad = masked.grad_input(grad, y, 0, grad_input=grad) if own else masked(grad, y, 0)
    return grad, *conv2d_backward(grad, x, weight, geometry, needed, onto)


def unfold(
    folding: Folding, grad_weight: Gradient, grad_bias: Gradient, needed: Sequence[bool]
) -> list[Gradient]:
    """Returns the gradients of weight, convolution's bias, gamma and beta.

    Args:
        folding: as it was folded.
        grad_weight, grad_bias: of what was folded, as `backward` returns them; that of the weight
            is overwritten.
        needed: which are wanted; the others are None.
    """
    wide = torch.promote_types(folding.weight.dtype, torch.float32)
    inverse = torch.rsqrt(folding.var.to(wide) + folding.eps)
    scale = inverse if folding.gamma is None else inverse * folding.gamma
    found: list[Gradient] = [None] * 4
    if needed[0] or needed[2]:
        assert grad_weight is not None
        found[0], products = _unfold_weight(grad_weight, folding.weight, scale)
    if needed[1]:
        assert grad_bias is not None
        found[1] = grad_bias * scale
    if needed[2]:
        assert grad_bias is not None
        shift = -folding.mean if folding.conv_bias is None else folding.conv_bias - folding.mean
        found[2] = (products + shift * grad_bias.to(wide)) * inverse
    if needed[3]:
        found[3] = grad_bias
    return [
        gradient.to(tensor.dtype) if need and gradient is not None and tensor is not None else None
        for gradient, tensor, need in zip(found, folding[:4], needed, strict=True)
    ]


def _unfold_weight(grad: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient of the weight, and of each channel's row the product with the weight.

    Args:
        grad: of the folded weight; it is overwritten where its type and order are the weight's.
        weight: (C_out, C_in / groups, kH, kW).
        scale: (C_out,), of float32 or wider.
    """
    last = weight.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    wide = torch.promote_types(weight.dtype, torch.float32)
    own = grad.dtype == wide and grad.is_contiguous(memory_format=order)
    found = grad if own else torch.empty_like(weight, dtype=wide)
    products = found.new_empty(len(weight))
    rows = len(weight)
    if weight.device.type == "cpu":  # elsewhere a call costs more than a pass
        rows = max(1, CACHED * torch.get_num_threads() * rows // weight.numel())
    parts = (tensor.split(rows) for tensor in (grad, weight, scale, found, products))
    for of_folded, part, factor, of_part, product in zip(*parts, strict=True):
        if not own:
            of_part.copy_(of_folded)
        torch.sum(of_part * part, (1, 2, 3), out=product)
        of_part.mul_(factor.reshape(-1, 1, 1, 1))
    return found, products
