"""Grouped convolutions: with several groups computed as one, or by other kernels, if faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped_triton import runs_on, tiled_conv2d, tiled_gradients

is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""PyTorch before 2.7 cannot tell exporting from compiling: any compilation counts as an export."""


class Way(NamedTuple):
    """How a pass is computed."""

    merged: int = 1
    """So many groups as one."""
    triton: bool = False
    """By the kernels of `compute.triton_kernels` instead of PyTorch's."""

    def __str__(self) -> str:
        return f"{self.merged} triton" if self.triton else f"{self.merged}"

    @classmethod
    def parse(cls, text: str) -> Way:
        """The inverse of `str`."""
        merged, *triton = text.split()
        return cls(int(merged), bool(triton))


class Ways(NamedTuple):
    """How the three passes are computed."""

    forward: Way = Way()
    grad_input: Way = Way()
    grad_weight: Way = Way()


PLAIN = Ways()

FASTEST: dict[tuple[str, torch.dtype], dict[int, Ways]] = {
    ("cpu", torch.float32): {
        4: Ways(grad_weight=Way(4)),
        8: Ways(grad_weight=Way(2)),
    },
    ("cpu", torch.bfloat16): {
        4: Ways(Way(4), Way(8), Way(8)),
        8: Ways(grad_weight=Way(2)),
    },
}
"""Device and type of the input; then channels a group, and what is fastest there.

Measured by python -m benchmarks.convolutions, whose numbers are in docs/benchmarks. What is not in
the table is computed by the plain call.
"""


def fastest(x: Tensor, weight: Tensor, geometry: Geometry) -> Ways:
    """The fastest way to compute a grouped convolution that keeps the number of channels."""
    channels = weight.shape[1]
    ways = FASTEST.get((x.device.type, x.dtype), {}).get(channels, PLAIN)
    # An exported program may run where the operators are not known.
    if any(way.triton for way in ways) and (is_exporting() or not runs_on(x)):
        ways = Ways(*(Way() if way.triton else way for way in ways))
    even = all(geometry.groups % way.merged == 0 for way in ways)
    keeps = x.shape[1] == weight.shape[0] == channels * geometry.groups
    return ways if even and keeps and not torch.jit.is_tracing() else PLAIN


def merge_groups(weight: Tensor, groups: int, merged: int) -> Tensor:
    """The same convolution with fewer, block-diagonal groups: most of the weight is zero.

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
    """The diagonal blocks of a weight that `merge_groups` gave; also for its gradient."""
    if merged == 1:
        return weight
    out_channels, channels, *kernel = weight.shape
    shape = groups // merged, merged, out_channels // groups, merged, channels // merged, *kernel
    blocks = weight.reshape(shape).diagonal(dim1=1, dim2=3)
    return blocks.movedim(-1, 1).reshape(out_channels, channels // merged, *kernel)


def grouped_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, way: Way
) -> Tensor:
    """The convolution, computed in that way."""
    merged, triton = way
    if triton:
        return tiled_conv2d(x, weight, bias, *geometry, merged)
    wide = merge_groups(weight, geometry.groups, merged)
    return F.conv2d(x, wide, bias, *geometry.merged(merged))


def grouped_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    way: Way,
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those gradients of `x`, `weight` and bias that are needed, computed in that way."""
    merged, triton = way
    if triton:
        return tiled_gradients(grad, x, weight, geometry, merged, needed)
    stride, padding, dilation, groups = geometry.merged(merged)
    wide = merge_groups(weight, geometry.groups, merged)
    grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
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
    if needed[1]:
        grad_weight = split_groups(grad_weight, geometry.groups, merged)
    return grad_x, grad_weight, grad_bias
