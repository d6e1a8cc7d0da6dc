"""Convolutions, each of whose passes is computed in the way that was measured to be fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.compute import ways
from resnext_backbones.compute.calls import PLAIN, WAYS, Gradients, Way
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import ALL_PLAIN, UNKNOWN
from resnext_backbones.compute.ways import ways_of


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """(N, C_in, H, W) to (N, C_out, H', W'); the weight is (C_out, C_in / groups, kH, kW)."""
    chosen = ways_of(x, weight, geometry)
    if torch.is_grad_enabled() and (chosen != ALL_PLAIN or ways.is_recorded()):
        return _Conv2d.apply(x, weight, bias, geometry)
    return forward(x, weight, bias, geometry, chosen.forward)


def conv2d_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
) -> Gradients:
    """Returns the gradients of `x`, `weight` and `bias` of `conv2d`, as far as they are needed.

    `onto`, of the shape of `x`, is added to its gradient.
    """
    need_x, need_weight, need_bias = needed
    asked = ("grad_input",) * need_x + ("grad_weight",) * (need_weight or need_bias)
    chosen = ways_of(x, weight, geometry, asked)
    of_x, of_weight = chosen.grad_input, chosen.grad_weight
    if of_x == of_weight:
        return gradients(grad, x, weight, geometry, of_x, needed, onto)
    only = need_x, False, False
    grad_x = gradients(grad, x, weight, geometry, of_x, only, onto)[0] if need_x else None
    but = False, need_weight, need_bias
    return grad_x, *gradients(grad, x, weight, geometry, of_weight, but)[1:]


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, way: str) -> Tensor:
    """Returns the convolution, computed in one way."""
    return _called(way).forward(x, weight, bias, geometry)


def gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    way: str,
    needed: Sequence[bool],
    onto: Tensor | None = None,
) -> Gradients:
    """Returns the gradients, as of `conv2d_backward`, computed in one way."""
    if not any(needed):
        return None, None, None
    found = _called(way).gradients(grad, x, weight, geometry, needed, onto)
    grad_x, grad_weight, grad_bias = found
    return grad_x, _ordered(grad_weight, weight), grad_bias


def _called(way: str) -> Way:
    return WAYS[PLAIN if way == UNKNOWN else way]


def _ordered(grad_weight: Tensor | None, weight: Tensor) -> Tensor | None:
    """Returns the gradient of a 1x1 kernel with the kernel's strides: DDP copies it otherwise."""
    if grad_weight is None or weight.shape[2:] != (1, 1):
        return grad_weight
    if grad_weight.stride()[:2] != weight.stride()[:2]:
        return grad_weight
    return grad_weight.as_strided(weight.shape, weight.stride())


class _Conv2d(torch.autograd.Function):
    """A convolution with a backward pass of its own."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return forward(x, weight, bias, geometry, ways_of(x, weight, geometry).forward)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return *conv2d_backward(grad, x, weight, ctx.geometry, ctx.needs_input_grad[:3]), None
