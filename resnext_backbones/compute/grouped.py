"""Grouped convolutions, with several groups computed as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from resnext_backbones.compute.geometry import Geometry


def merge_groups(weight: Tensor, groups: int, merged: int) -> Tensor:
    """Returns the same convolution with fewer, block-diagonal groups: most of the weight is zero.

    Args:
        weight: (C_out, C_in / groups, kH, kW).
        groups: of `weight`.
        merged: how many of them become one.

    Returns:
        (C_out, merged x C_in / groups, kH, kW).
    """
    if merged == 1:
        return weight
    out_channels, channels, *kernel = weight.shape
    blocks = weight.reshape(groups // merged, merged, out_channels // groups, 1, channels, *kernel)
    diagonal = torch.eye(merged, dtype=weight.dtype, device=weight.device)
    wide = blocks * diagonal.reshape(1, merged, 1, merged, 1, 1, 1)
    wide = wide.reshape(out_channels, merged * channels, *kernel)
    return wide.contiguous(memory_format=torch.channels_last)


def split_groups(weight: Tensor, groups: int, merged: int) -> Tensor:
    """Returns the diagonal blocks of a weight that `merge_groups` gave; also for its gradient."""
    if merged == 1:
        return weight
    out_channels, channels, *kernel = weight.shape
    shape = groups // merged, merged, out_channels // groups, merged, channels // merged, *kernel
    blocks = weight.reshape(shape).diagonal(dim1=1, dim2=3)
    return blocks.movedim(-1, 1).reshape(out_channels, channels // merged, *kernel)


def grouped_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, merged: int = 1
) -> Tensor:
    """Returns the convolution, with so many groups computed as one."""
    wide = merge_groups(weight, geometry.groups, merged)
    return F.conv2d(x, wide, bias, *geometry.merged(merged))


def grouped_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
    merged: int = 1,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns those gradients of `x`, `weight` and bias that are needed, likewise; `onto`, of the
    shape of `x`, is added to its gradient.
    """
    stride, padding, dilation, groups = geometry.merged(merged)
    wide = merge_groups(weight, geometry.groups, merged)
    gradients = torch.ops.aten.convolution_backward(
        grad,
        x,
        wide,
        [weight.shape[0]],
        stride,
        padding,
        dilation,
        False,
        [0, 0],
        groups,
        list(needed),
    )
    # A backend may return a gradient that nobody asked for.
    grad_x, grad_weight, grad_bias = (
        g if n else None for g, n in zip(gradients, needed, strict=True)
    )
    if grad_x is not None and onto is not None:
        grad_x.add_(onto)  # nobody else has it
    if grad_weight is not None:
        grad_weight = split_groups(grad_weight, geometry.groups, merged)
    return grad_x, grad_weight, grad_bias
