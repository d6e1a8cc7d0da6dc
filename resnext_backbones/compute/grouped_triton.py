"""The kernels of `compute.triton_kernels` as operators of PyTorch, which a compiler can call.

Triton comes with PyTorch's builds for GPUs; it is imported when an operator first computes. A NaN
or infinity in one group spreads to the other groups of its tile, because it is multiplied by their
zeros. The gradients cannot be differentiated again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from resnext_backbones.compute.geometry import Geometry

AVAILABLE = (
    find_spec("triton") is not None
    and torch.version.hip is None
    and (
        os.environ.get("TRITON_INTERPRET") == "1"
        or any(map(which, (os.environ.get("CC", "cc"), "gcc", "clang")))
    )
)
"""Triton is there, and the C compiler that it needs when it first computes: its interpreter does
not."""

FIRST_CAPABILITY = 8
"""Of GPUs with matrix instructions for the types that are trained in: Ampere."""


def runs_on(x: Tensor) -> bool:
    """Whether the operators can compute, and are of use, where a tensor is."""
    if not AVAILABLE:
        return False
    return not x.is_cuda or torch.cuda.get_device_properties(x.device).major >= FIRST_CAPABILITY


OPTIONS = "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups, SymInt tile_groups"
"""Last arguments of each operator: a `Geometry`, and the groups that a tile holds, whose channels
are a power of two, 16 or more. What an operator gives is in channels_last."""


def _split(options: Sequence[Any]) -> tuple[Geometry, int]:
    stride, padding, dilation, groups, tile_groups = options
    return Geometry(tuple(stride), tuple(padding), tuple(dilation), groups), tile_groups


@custom_op(
    "resnext_backbones::tiled_conv2d",
    mutates_args=(),
    schema=f"(Tensor x, Tensor weight, Tensor? bias, {OPTIONS}) -> Tensor",
)
def tiled_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """`torch.nn.functional.conv2d` with as many output as input channels: (N, C, H', W')."""
    from resnext_backbones.compute import triton_kernels

    return triton_kernels.convolve(x, weight, bias, *_split(options))


@tiled_conv2d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    y = torch.nn.functional.conv2d(x, weight, bias, *options[:-1])
    return torch.empty_like(y, memory_format=torch.channels_last)


@custom_op(
    "resnext_backbones::tiled_conv2d_grad_input",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor weight, SymInt height, SymInt width, {OPTIONS}) -> Tensor",
)
def tiled_grad_input(
    grad: Tensor, weight: Tensor, height: int, width: int, *options: Any
) -> Tensor:
    """The gradient of the input, (N, C, height, width)."""
    from resnext_backbones.compute import triton_kernels

    return triton_kernels.grad_input(grad, weight, *_split(options), [height, width])


@tiled_grad_input.register_fake
def _(grad: Tensor, weight: Tensor, height: int, width: int, *_: Any) -> Tensor:
    y = grad.new_empty(len(grad), len(weight), height, width)
    return torch.empty_like(y, memory_format=torch.channels_last)


@custom_op(
    "resnext_backbones::tiled_conv2d_grad_weight",
    mutates_args=(),
    schema=f"(Tensor grad, Tensor x, SymInt[] kernel, {OPTIONS}) -> Tensor",
)
def tiled_grad_weight(grad: Tensor, x: Tensor, kernel: Sequence[int], *options: Any) -> Tensor:
    """The gradient of the weight, (C, C / groups, kH, kW), in float32."""
    from resnext_backbones.compute import triton_kernels

    return triton_kernels.grad_weight(grad, x, list(kernel), *_split(options))


@tiled_grad_weight.register_fake
def _(_grad: Tensor, x: Tensor, kernel: Sequence[int], *options: Any) -> Tensor:
    channels, groups = x.shape[1], options[3]
    weight = x.new_empty(channels, channels // groups, *kernel, dtype=torch.float32)
    return torch.empty_like(weight, memory_format=torch.channels_last)


def tiled_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    tile_groups: int,
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those gradients of `x`, `weight` and bias that are needed."""
    need_x, need_weight, need_bias = needed
    options = *geometry, tile_groups
    grad_x = tiled_grad_input(grad, weight, *x.shape[2:], *options) if need_x else None
    grad_weight = grad_bias = None
    if need_weight:
        grad_weight = tiled_grad_weight(grad, x, weight.shape[2:], *options).to(weight.dtype)
    if need_bias:
        grad_bias = grad.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias
