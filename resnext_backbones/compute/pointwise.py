"""1x1 convolutions and their gradients, as the matrix products that they are.

Over pixels a 1x1 convolution is y = x w^T, so its gradients are g w and g^T x. Where the channels
are last in memory these need no copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnext_backbones.compute.geometry import Geometry


def product(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Returns the convolution of `x`, (N, C_in, H, W), in channels_last: (N, C_out, H, W)."""
    del geometry  # that of all of these is the same
    n, _, height, width = x.shape
    last = torch.channels_last
    shape = n, len(weight), height, width
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=last)
    # Into a tensor of its own: a view could not be changed in place behind an autograd function.
    rows, weights = _pixels(x), weight.flatten(1).t()
    if bias is None:
        torch.mm(rows, weights, out=_pixels(y))
    else:
        torch.addmm(bias, rows, weights, out=_pixels(y))
    return y


def product_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns those gradients of `x`, `weight` and bias that are needed.

    Args:
        grad: (N, C_out, H, W).
        x: (N, C_in, H, W).
        weight: (C_out, C_in, 1, 1).
        geometry: that of all of these is the same.
        needed: of x, weight and bias.
        onto: (N, C_in, H, W), which is added to the gradient of x.
    """
    del geometry
    need_x, need_weight, need_bias = needed
    upstream = _pixels(grad)
    grad_x = grad_weight = grad_bias = None
    if need_x:
        weights = weight.flatten(1)
        added = None if onto is None else _pixels(onto)
        rows = upstream @ weights if added is None else torch.addmm(added, upstream, weights)
        n, channels, height, width = x.shape
        grad_x = rows.view(n, height, width, channels).permute(0, 3, 1, 2)
    if need_weight:
        grad_weight = (upstream.t() @ _pixels(x))[:, :, None, None]
    if need_bias:
        # A sum would be code for few or for many pixels: a compiler makes two versions of it.
        grad_bias = (upstream.new_ones(1, len(upstream)) @ upstream)[0]
    return grad_x, grad_weight, grad_bias


def _pixels(x: Tensor) -> Tensor:
    """Returns (N, C, H, W) as (N x H x W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
