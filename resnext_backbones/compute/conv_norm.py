"""Convolutions and normalisations in a row, each pair as one step.

Folding (`compute.folding`) saves the norm's pass over the activations, and its input, which it
would keep for the backward pass. The gradients of w, gamma and beta are those of the folded
expression. ReLU and the shortcut's addition are part of the step. What folds in a row is one node
of autograd's graph: on a fast GPU a node of Python costs more than its convolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resnext_backbones.compute import folded_cache
from resnext_backbones.compute.convolution import conv2d
from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.passes import passes_for
from resnext_backbones.compute.plain import is_plain, is_relu


class Step(NamedTuple):
    """A convolution, the norm behind it, and an activation, called as modules where they must be.

    That is where they are anything but a plain convolution, a batch norm in eval mode and ReLU, and
    where they have hooks.
    """

    conv: Any
    norm: Any
    activation: nn.Module | None = None


def conv_norms(
    x: Tensor, steps: Iterable[Step], *, fold: bool = True, shortcut: Tensor | None = None
) -> Tensor:
    """Returns what the steps make of `x`; the shortcut is added before the last activation.

    Args:
        x: (N, C_in, H, W).
        steps: in order.
        fold: False computes all norms on their own.
        shortcut: (N, C_out, H', W').
    """
    run: list[Step] = []  # of steps that fold, with ReLU or nothing between them
    *first, last = steps
    for step in first:
        if fold and can_fold(step.conv, step.norm):
            run.append(step)
            if not is_relu(step.activation):
                x, run = _folded(x, run), []
        else:
            x = _finish(
                call(step.norm, convolve(_folded(x, run), step.conv)), None, step.activation
            )
            run = []
    if fold and can_fold(last.conv, last.norm):
        return _folded(x, [*run, last], shortcut)
    x = _folded(x, run)
    return _finish(call(last.norm, convolve(x, last.conv)), shortcut, last.activation)


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


def _folded(x: Tensor, run: Sequence[Step], shortcut: Tensor | None = None) -> Tensor:
    """Returns what steps that fold make of `x`, as one node if there is a graph."""
    if not run:
        return x
    x = _autocast(x)
    foldings = [Folding.of(step.conv, step.norm) for step in run]
    geometries = [Geometry.of(step.conv) for step in run]
    activation = run[-1].activation
    # A tracer sees through the folding, and a compiler repeats it in the backward pass by itself.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        for i, (step, folding, geometry) in enumerate(zip(run, foldings, geometries, strict=True)):
            y = conv2d(x, *folding.fold(x.dtype), geometry)
            x = _finish(y, shortcut if i == len(run) - 1 else None, step.activation)
        return x
    added = shortcut if shortcut is not None and shortcut.dtype == x.dtype else None
    relu = added is shortcut and is_relu(activation)
    relus = [True] * (len(run) - 1) + [relu]
    passes = passes_for(x, [folding.weight for folding in foldings])
    tensors = [tensor for folding in foldings for tensor in folding[:-1]]
    with torch.cuda.device_of(x):  # to which Triton's kernels go
        if torch.is_grad_enabled() and any(
            tensor is not None and tensor.requires_grad for tensor in (x, added, *tensors)
        ):
            epses = [folding.eps for folding in foldings]
            how = passes, geometries, relus, epses, added is x
            x = _Folded.apply(how, x, None if added is x else added, *tensors)
        else:
            for i, (step, folding) in enumerate(zip(run, foldings, strict=True)):
                held = folded_cache.holds(step.conv)
                make = partial(folded_cache.folded, step.conv) if held else passes.fold
                behind = added if i == len(run) - 1 else None
                x = passes.forward(x, *make(folding, x.dtype), geometries[i], behind, relus[i])
    return _finish(x, None if added is shortcut else shortcut, None if relu else activation)


def _finish(y: Tensor, shortcut: Tensor | None, activation: nn.Module | None) -> Tensor:
    if shortcut is not None:  # in place of the sum's own tensor, where it can be
        y = y.add_(shortcut) if y.dtype == shortcut.dtype else y + shortcut
    return y if activation is None else call(activation, y)


class _Folded(torch.autograd.Function):
    """The convolutions. They keep their inputs, and fold again in the backward pass.

    `how` holds who computes the passes; of each step the geometry, whether ReLU comes behind, and
    the norm's eps; and whether the input is the shortcut as well.
    """

    @staticmethod
    def forward(
        ctx: Any, how: tuple[Any, ...], x: Tensor, shortcut: Tensor | None, *tensors: Any
    ) -> Tensor:
        passes, geometries, relus, epses, is_identity = how
        foldings = _foldings(tensors, epses)
        values, kept = [x], []
        for i, folding in enumerate(foldings):
            weight, bias = passes.fold(folding, x.dtype)
            added = None
            if i == len(foldings) - 1:
                added = x if is_identity else shortcut
            kept.append(weight if passes.keeps(weight, values[-1]) else None)
            values.append(passes.forward(values[-1], weight, bias, geometries[i], added, relus[i]))
        y = values.pop()
        ctx.save_for_backward(*values, y if relus[-1] else None, *kept, *tensors)
        ctx.how = how
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        passes, geometries, relus, epses, is_identity = ctx.how
        count = len(epses)
        saved = ctx.saved_tensors  # once: activation checkpointing computes them for it
        values, kept = saved[: count + 1], saved[count + 1 : 2 * count + 1]
        tensors = saved[2 * count + 1 :]
        foldings = _foldings(tensors, epses)
        _, need_x, need_shortcut, *needed = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * len(tensors)
        grad_shortcut: Tensor | None = None
        first = next((i for i in range(count) if need_x or any(needed[: 6 * i + 6])), count - 1)
        gradient: Tensor | None = grad
        for i in reversed(range(first, count)):
            assert gradient is not None
            x, y = values[i], values[i + 1] if relus[i] else None
            weight, conv_bias, gamma, beta = wanted = needed[6 * i : 6 * i + 4]
            of = need_x or i > first, weight or gamma, conv_bias or gamma or beta
            folded = passes.fold(foldings[i], x.dtype)[0] if kept[i] is None else kept[i]
            # With one step the gradient of the shortcut is not known before.
            onto = grad_shortcut if is_identity and i == 0 else None
            behind, gradient, *grads = passes.backward(
                gradient, y, x, folded, geometries[i], of, onto
            )
            if i == count - 1:
                grad_shortcut = behind
            if any(wanted):
                found[6 * i : 6 * i + 4] = passes.unfold(foldings[i], *grads, wanted)
        if is_identity and need_x and count == 1:
            assert gradient is not None
            assert grad_shortcut is not None
            gradient = gradient + grad_shortcut
        return None, gradient if need_x else None, grad_shortcut if need_shortcut else None, *found


def _foldings(tensors: Sequence[Any], epses: Sequence[float]) -> list[Folding]:
    """Returns them from their tensors, six each, and their eps."""
    return [Folding(*(*tensors[6 * i : 6 * i + 6], eps)) for i, eps in enumerate(epses)]


def _autocast(tensor: Tensor) -> Tensor:
    """Returns it as autocast would give it to a convolution."""
    device = tensor.device.type
    if device == "meta":  # which autocast does not know
        return tensor
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(device))
    return tensor
