"""Convolution and normalisation as one step.

Folding (`compute.folding`) saves the norm's pass over the activations (cuDNN leaves that of the
bias), and its input, which it would keep for the backward pass. The gradients of w, gamma and beta
are those of the folded expression.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resnext_backbones.compute import folded_cache
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.plain import is_plain


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module, *, fold: bool = True) -> Tensor:
    """Returns `norm(conv(x))`, as one convolution where the statistics of the norm are frozen.

    Args:
        x: (N, C_in, H, W).
        conv, norm: called as modules where they are anything but a plain convolution and a batch
            norm in eval mode, and where one of them has hooks.
        fold: False computes the norm on its own in any case.
    """
    if not fold or not can_fold(conv, norm):
        return call(norm, convolve(x, conv))
    assert isinstance(conv, nn.Conv2d)
    x = _autocast(x)
    folding = Folding.of(conv, norm)
    geometry = Geometry.of(conv)
    # A tracer sees through the folding, and a compiler repeats it in the backward pass by itself.
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if not traced and folded_cache.holds(conv) and not folding.is_trained():
        return conv2d(x, *folded_cache.folded(conv, folding, x.dtype), geometry)
    if traced or not torch.is_grad_enabled():
        return conv2d(x, *folding.fold(x.dtype), geometry)
    return _FoldedConv.apply(x, geometry, *folding)


def convolve(x: Tensor, conv: nn.Module) -> Tensor:
    """Returns `conv(x)`; what is not a plain convolution is called as a module."""
    if not is_plain(conv):
        return call(conv, x)
    assert isinstance(conv, nn.Conv2d)
    bias = None if conv.bias is None else _autocast(conv.bias)
    return conv2d(_autocast(x), _autocast(conv.weight), bias, Geometry.of(conv))


def call(module: nn.Module, x: Tensor) -> Tensor:
    """Returns `module(x)`, in NCHW order where the module is none of PyTorch's or of this package.

    Operators of other libraries, such as mmcv's, read memory as NCHW whatever the tensor says.
    """
    if type(module).__module__.startswith(("torch.", "torchvision.", "resnext_backbones.")):
        return module(x)
    y = module(x.contiguous())
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return y.contiguous(memory_format=torch.channels_last) if channels_last else y


class _FoldedConv(torch.autograd.Function):
    """The one convolution. It keeps its input, and folds again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Geometry, *folding: Any) -> Tensor:
        *tensors, eps = folding
        ctx.save_for_backward(x, *tensors)
        ctx.geometry, ctx.eps = geometry, eps
        return conv2d(x, *Folding(*folding).fold(x.dtype), geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        x_needed, _, *needed, _ = ctx.needs_input_grad
        leaves: list[Any] = [
            tensor if tensor is None else tensor.detach().requires_grad_(need)
            for tensor, need in zip(tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            weight, bias = Folding(*[*leaves, ctx.eps]).fold(x.dtype)
        wanted = x_needed, weight.requires_grad, bias.requires_grad
        grad_x, *grads = conv2d_backward(grad, x, weight.detach(), ctx.geometry, wanted)
        # A backend may return a gradient that nobody asked for.
        pairs = zip((weight, bias), grads, strict=True)
        outputs, given = zip(*((out, g) for out, g in pairs if out.requires_grad), strict=True)
        inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
        found = iter(torch.autograd.grad(outputs, inputs, given))
        return grad_x, None, *(next(found) if need else None for need in needed), None


def _autocast(tensor: Tensor) -> Tensor:
    """Returns it as autocast would give it to a convolution."""
    device = tensor.device.type
    if device == "meta":  # which autocast does not know
        return tensor
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(device))
    return tensor
