"""Triton computes what surrounds a folded convolution, as `passes` does, in one kernel a pass.

PyTorch's operators take some thirty launches for it, which on a fast GPU last longer than the
convolution. Activations are in channels_last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from resnext_backbones.compute import triton_kernels as kernels
from resnext_backbones.compute.calls import Gradient
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.folding import Folding
from resnext_backbones.compute.geometry import Geometry

TILE = {"PIXELS": 64, "CHANNELS": 64}
"""A program has these of activations; 64 channels in half precision are a line of the cache."""

VALUES = 1024
"""A program takes so many of a row of the weight at a time."""

SMALL = 8
"""An input with that many times the values of a weight hides it."""

PROGRAMS = 1024
"""A bias's gradient is summed up by so many: the largest GPUs run a few on each of their 132
multiprocessors."""


def fold(folding: Folding, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of the one convolution; the bias is in float32."""
    last = torch.channels_last
    weight = torch.empty_like(folding.weight, dtype=dtype, memory_format=last)
    rows = len(weight)
    bias = weight.new_empty(rows, dtype=torch.float32)
    kernels.fold[rows,](*folding, weight, bias, *_row(folding.weight), VALUES)
    return weight, bias


def keeps(weight: Tensor, x: Tensor) -> bool:
    """Returns whether a folded weight is kept for the backward pass: it is small beside `x`."""
    return weight.numel() * SMALL <= x.numel()


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    shortcut: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Returns what `passes.forward` does."""
    y = conv2d(x, weight, None, geometry).contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.expand_as(y).contiguous(memory_format=torch.channels_last)
    pixels, channels, grid = _tiles(y)
    kernels.finish[grid](y, bias, shortcut, pixels, channels, RELU=relu, **TILE)
    return y


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
    """Returns what `passes.backward` does, but the gradient of the bias in parts: (parts, C)."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    pixels, channels, (most, tiles) = _tiles(grad)
    parts = max(1, min(most, PROGRAMS // tiles))
    sums = grad.new_empty(parts, channels, dtype=torch.float32)
    masked = grad if y is None or own else torch.empty_like(grad)
    kernels.finish_backward[parts, tiles](grad, y, masked, sums, pixels, channels, **TILE)
    but_bias = (*needed[:2], False)
    grad_x, grad_weight, _ = conv2d_backward(masked, x, weight, geometry, but_bias, onto)
    return masked, grad_x, grad_weight, sums


def unfold(
    folding: Folding, grad_weight: Gradient, grad_bias: Gradient, needed: Sequence[bool]
) -> list[Gradient]:
    """Returns what `passes.unfold` does."""
    assert grad_bias is not None
    if grad_weight is not None:
        grad_weight = grad_weight.contiguous(memory_format=torch.channels_last)
    found = [
        torch.empty_like(tensor) if need and tensor is not None else None
        for tensor, need in zip(folding[:4], needed, strict=True)
    ]
    rows, row = len(folding.weight), _row(folding.weight)
    read = folding.weight, folding.conv_bias, folding.gamma, folding.mean, folding.var, folding.eps
    kernels.unfold[rows,](*read, grad_weight, grad_bias, len(grad_bias), *found, *row, VALUES)
    return found


def _row(weight: Tensor) -> tuple[int, int, int, bool]:
    """Returns a row's values, its channels and pixels, and whether the channels are last."""
    _, channels, height, width = weight.shape
    pixels = height * width
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return channels * pixels, channels, pixels, last


def _tiles(y: Tensor) -> tuple[int, int, tuple[int, int]]:
    """Returns pixels and channels of activations, and into how many tiles each is divided."""
    channels = y.shape[1]
    pixels = y.numel() // channels
    tiles = triton.cdiv(pixels, TILE["PIXELS"]), triton.cdiv(channels, TILE["CHANNELS"])
    return pixels, channels, tiles
