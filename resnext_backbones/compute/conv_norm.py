"""Convolutions and normalisations in a row, each pair as one step.

Folding (`compute.folding`) saves the norm's pass over the activations, and its input, which it
would keep for the backward pass. The activation and the shortcut's addition are part of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnext_backbones.compute.activations import NONE, RELU, SILU, activation_of
from resnext_backbones.compute.convolution import conv2d
from resnext_backbones.compute.folded import Folded, How, last_output
from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.kept import keeping, remember
from resnext_backbones.compute.passes import passes_for
from resnext_backbones.compute.plain import has_memory_format, is_known, is_observed, is_plain


class Step(NamedTuple):
    """A convolution, the norm behind it, and an activation, called as modules where they must be.

    That is where they are anything but a plain convolution, a batch norm in eval mode and an
    activation of `activations.KINDS`, and where they have hooks.
    """

    conv: Any
    norm: Any
    activation: nn.Module | None = None
    again: bool = False
    """Between steps that fold, the output is not kept, and the backward pass computes it again; of
    the last one, who keeps the output for the backward pass keeps nothing instead."""


def conv_norms(
    x: Tensor, steps: Sequence[Step], *, fold: bool = True, shortcut: Tensor | None = None
) -> Tensor:
    """Returns what the steps make of `x`; the shortcut is added before the last activation.

    Args:
        x: (N, C_in, H, W).
        steps: in order.
        fold: False computes all norms on their own.
        shortcut: (N, C_out, H', W').
    """
    if is_observed(x):
        for step in steps:
            x = call(step.norm, call(step.conv, x))
            if shortcut is not None and step is steps[-1]:
                x = x + shortcut
            x = activate(x, step.activation)
        return x
    run: list[Step] = []  # of steps that fold, with activations between them
    for i, step in enumerate(steps):
        added = shortcut if i == len(steps) - 1 else None
        if fold and can_fold(step.conv, step.norm):
            run.append(step)
            if i < len(steps) - 1 and activation_of(step.activation) is not NONE:
                continue
            x = _folded(x, run, added)
        else:
            x = _folded(x, run)
            x = _finish(call(step.norm, convolve(x, step.conv)), added, step.activation)
        run = []
    return x


def convolve(x: Tensor, conv: nn.Module) -> Tensor:
    """Returns `conv(x)`; what is not a plain convolution is called as a module."""
    if not is_plain(conv):
        return call(conv, x)
    assert isinstance(conv, nn.Conv2d)
    x, bias = _autocast(x), None if conv.bias is None else _autocast(conv.bias)
    with keeping(x):
        return conv2d(x, _autocast(conv.weight), bias, Geometry.of(conv))


def call(module: nn.Module, x: Tensor) -> Tensor:
    """Returns `module(x)`, in NCHW order where the module is none of PyTorch's or of this package.

    Operators of other libraries, such as mmcv's, read memory as NCHW whatever the tensor says.
    """
    if is_known(module):
        with keeping(x):
            return module(x)
    y = module(x.contiguous())
    last = has_memory_format(x) and x.is_contiguous(memory_format=torch.channels_last)
    return y.contiguous(memory_format=torch.channels_last) if last else y


def activate(y: Tensor, activation: nn.Module | None) -> Tensor:
    """Returns the activation's output; who keeps it for the backward pass keeps `y` if it can."""
    if activation is None:
        return y
    if (
        torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not is_observed(y)
        and y.requires_grad
        and activation_of(activation) is SILU
    ):
        out = functional.silu(y)  # not in place, which would keep a copy of `y`
        remember(out, functional.silu, y)
        return out
    return call(activation, y)


def _folded(x: Tensor, run: Sequence[Step], shortcut: Tensor | None = None) -> Tensor:
    """Returns what steps that fold make of `x`, as one node if there is a graph."""
    if not run:
        return x
    x = _autocast(x)
    last = run[-1]
    foldings = [Folding.of(step.conv, step.norm) for step in run]
    geometries = [Geometry.of(step.conv) for step in run]
    if torch.compiler.is_compiling():  # it repeats the folding in the backward pass by itself
        for step, folding, geometry in zip(run, foldings, geometries, strict=True):
            y = conv2d(x, *folding.fold(x.dtype), geometry)
            x = _finish(y, shortcut if step is last else None, step.activation)
        return x
    adds = shortcut is not None and shortcut.dtype == x.dtype
    activations = [activation_of(step.activation) for step in run]
    # ReLU is computed with the sum; SiLU behind it, by PyTorch's own node.
    ends = (adds or shortcut is None) and activations[-1] is RELU
    how = How(
        passes_for(x, foldings),
        geometries,
        [*activations[:-1], RELU if ends else NONE],
        [folding.eps for folding in foldings],
        [step.again for step in run],
        adds and shortcut is x,
    )
    added = shortcut if adds and shortcut is not x else None
    tensors = [tensor for folding in foldings for tensor in folding[:-1]]
    trained = any(t is not None and t.requires_grad for t in (x, added, *tensors))
    with torch.cuda.device_of(x):  # to which Triton's kernels go
        if trained and torch.is_grad_enabled():
            with keeping(x):
                x = Folded.apply(how, x, added, *tensors)
            node: Any = x.grad_fn
            if last.again and node is not None and node.first < len(run):
                remember(x, partial(last_output, node))
        else:
            x = how.forward(x, added, foldings)[0][-1]
    return _finish(x, None if adds else shortcut, None if ends else last.activation)


def _finish(y: Tensor, shortcut: Tensor | None, activation: nn.Module | None) -> Tensor:
    if shortcut is not None:  # in place of the sum's own tensor, where it can be
        y = y.add_(shortcut) if y.dtype == shortcut.dtype else y + shortcut
    return activate(y, activation)


def _autocast(tensor: Tensor) -> Tensor:
    """Returns it as autocast would give it to a convolution."""
    device = tensor.device.type
    if device == "meta":  # which autocast does not know
        return tensor
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(device))
    return tensor
