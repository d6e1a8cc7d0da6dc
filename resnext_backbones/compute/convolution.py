"""Convolutions, each of whose passes is computed in the way that was measured to be fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import PLAIN, fastest, grouped_conv2d, grouped_gradients
from resnext_backbones.compute.pointwise import is_product, product_gradients


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """(N, C_in, H, W) to (N, C_out, H', W'); the weight is (C_out, C_in / groups, kH, kW)."""
    ways = fastest(x, weight, geometry)
    own_backward = ways != PLAIN or is_product(x, weight, geometry)
    if torch.is_grad_enabled() and own_backward:
        return _Conv2d.apply(x, weight, bias, geometry)
    return grouped_conv2d(x, weight, bias, geometry, ways.forward)


def conv2d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns the gradients of `x`, `weight` and `bias` of `conv2d`, as far as they are needed.

    `onto`, of the shape of `x`, is added to its gradient.
    """
    if is_product(x, weight, geometry):
        return product_gradients(grad, x, weight, needed, onto)
    need_x, *need_weight_bias = needed
    ways = fastest(x, weight, geometry)
    if ways.grad_input == ways.grad_weight:
        found = grouped_gradients(grad, x, weight, geometry, ways.grad_input, needed)
        grad_x, grad_weight, grad_bias = found
    else:
        grad_x = grad_weight = grad_bias = None
        if need_x:
            only = True, False, False
            grad_x = grouped_gradients(grad, x, weight, geometry, ways.grad_input, only)[0]
        if any(need_weight_bias):
            but = False, *need_weight_bias
            way = ways.grad_weight
            _, grad_weight, grad_bias = grouped_gradients(grad, x, weight, geometry, way, but)
    if grad_x is not None and onto is not None:
        grad_x = grad_x + onto
    return grad_x, grad_weight, grad_bias


class _Conv2d(torch.autograd.Function):
    """A convolution with a backward pass of its own."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        way = fastest(x, weight, geometry).forward
        return grouped_conv2d(x, weight, bias, geometry, way)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *conv2d_backward(grad, x, weight, ctx.geometry, ctx.needs_input_grad[:3]), None
