"""Convolutions and normalisations in a row, each pair as one step.

Folding (`compute.folding`) saves the norm's pass over the activations, and its input, which it
would keep for the backward pass. The gradients of w, gamma and beta are those of the folded
expression. The activation and the shortcut's addition are part of the step. What folds in a row is
one node of autograd's graph: on a fast GPU a node of Python costs more than its convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnext_backbones.compute.activations import NONE, RELU, SILU, Activation, activation_of
from resnext_backbones.compute.convolution import conv2d
from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.kept import keeping, remember
from resnext_backbones.compute.passes import passes_for
from resnext_backbones.compute.plain import (
    has_memory_format,
    is_batched,
    is_observed,
    is_plain,
    is_transformed,
)


class Step(NamedTuple):
    """A convolution, the norm behind it, and an activation, called as modules where they must be.

    That is where they are anything but a plain convolution, a batch norm in eval mode and an
    activation of `activations.KINDS`, and where they have hooks.
    """

    conv: Any
    norm: Any
    activation: nn.Module | None = None
    again: bool = False
    """Between steps that fold, the output is not kept, and the backward pass computes it again."""


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
    if type(module).__module__.startswith(("torch.", "torchvision.", "resnext_backbones.")):
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
                x = _Folded.apply(how, x, added, *tensors)
        else:
            x = how.forward(x, added, foldings)[0][-1]
    return _finish(x, None if adds else shortcut, None if ends else last.activation)


def _finish(y: Tensor, shortcut: Tensor | None, activation: nn.Module | None) -> Tensor:
    if shortcut is not None:  # in place of the sum's own tensor, where it can be
        y = y.add_(shortcut) if y.dtype == shortcut.dtype else y + shortcut
    return activate(y, activation)


class How(NamedTuple):
    """Says how steps that fold are computed."""

    passes: Any
    """The module of the passes, as of `passes_for`."""
    geometries: Sequence[Geometry]
    activations: Sequence[Activation]
    """Those behind each; that of the last step is ReLU or none."""
    epses: Sequence[float]
    """The norms have these."""
    again: Sequence[bool]
    """The output of each is computed again in the backward pass, or kept."""
    is_identity: bool
    """The input is the shortcut as well."""

    def foldings(self, tensors: Sequence[Any]) -> list[Folding]:
        """Returns them from their tensors, in a row."""
        n = len(tensors) // len(self.epses)
        return [Folding(*(*tensors[n * i : n * i + n], eps)) for i, eps in enumerate(self.epses)]

    def forward(
        self, x: Tensor, shortcut: Tensor | None, foldings: Sequence[Folding]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Returns `x` and of each step what is to be kept of its output, and the folded weights."""
        values, weights = [x], []
        for i, folding in enumerate(foldings):
            weight, bias = self.passes.fold(folding, x.dtype)
            added = None
            if i == len(foldings) - 1:
                added = x if self.is_identity else shortcut
            geometry, relu = self.geometries[i], self.activations[i] is RELU
            given = self.given(i, values[-1])
            values.append(self.passes.forward(given, weight, bias, geometry, added, relu))
            weights.append(weight)
        return values, weights

    def given(self, i: int, kept: Tensor) -> Tensor:
        """Returns the input of a step from what is kept of it."""
        return self.activations[i - 1].output(kept) if i else kept


class _Folded(torch.autograd.Function):
    """The convolutions. They keep their inputs, but for those that are computed again, and fold
    again in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, how: How, x: Tensor, shortcut: Tensor | None, *tensors: Any) -> Tensor:
        values, weights = how.forward(x, shortcut, how.foldings(tensors))
        _, need_x, _, *needed = ctx.needs_input_grad
        count, n = len(weights), len(tensors) // len(weights)
        # Nothing before the first step that is trained needs a gradient, nor what it was made of.
        ctx.first = next((i for i in range(count) if need_x or any(needed[: n * i + n])), count)
        kept: list[Tensor | None] = [
            weight if how.passes.keeps(weight, values[i]) else None
            for i, weight in enumerate(weights)
        ]
        y = values.pop()
        inputs = [
            value if i == ctx.first or (i > ctx.first and not how.again[i - 1]) else None
            for i, value in enumerate(values)
        ]
        last = y if how.activations[-1] is RELU else None
        ctx.save_for_backward(*inputs, last, *kept, *tensors)
        ctx.how = how
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Somebody may differentiate them again.
        if torch.is_grad_enabled() or is_transformed() or is_batched(grad):
            return None, *_Folded._differentiable(ctx, grad)
        return None, *_Folded._gradients(ctx, grad)

    @staticmethod
    def _differentiable(ctx: Any, grad: Tensor) -> list[Tensor | None]:
        """Returns the gradients by PyTorch's own operators, which compute the steps again."""
        again = torch.is_grad_enabled()
        how, first, count = ctx.how, ctx.first, len(ctx.how.epses)
        saved = ctx.saved_tensors
        x, y, tensors = saved[first], saved[count], saved[2 * count + 1 :]
        _, need_x, need_shortcut, *needed = ctx.needs_input_grad
        masked = grad if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        wanted = [need_x, *needed]
        with torch.enable_grad(), _cast_already(grad):
            inputs = [  # a weight that two steps share has a gradient from each
                value.view_as(value) if want else value
                for value, want in zip((x, *tensors), wanted, strict=True)
            ]
            out, foldings = how.given(first, inputs[0]), how.foldings(inputs[1:])
            for i in range(first, count):
                out = functional.conv2d(out, *foldings[i].fold(out.dtype), *how.geometries[i])
                out = how.activations[i].function(out) if i < count - 1 else out
        leaves = [value for value, want in zip(inputs, wanted, strict=True) if want]
        if leaves:
            made = iter(torch.autograd.grad(out, leaves, masked, create_graph=again))
        grad_x, *found = [next(made) if want else None for want in wanted]
        if how.is_identity and need_x:
            grad_x = masked if grad_x is None else grad_x + masked
        return [grad_x, masked if need_shortcut else None, *found]

    @staticmethod
    def _gradients(ctx: Any, grad: Tensor) -> list[Tensor | None]:
        how, first, count = ctx.how, ctx.first, len(ctx.how.epses)
        saved = ctx.saved_tensors  # once: activation checkpointing computes them for it
        values, kept = list(saved[: count + 1]), list(saved[count + 1 : 2 * count + 1])
        tensors = saved[2 * count + 1 :]
        foldings, n = how.foldings(tensors), len(tensors) // count
        _, need_x, need_shortcut, *needed = ctx.needs_input_grad
        found: list[Tensor | None] = [None] * len(tensors)
        if first == count:  # the shortcut alone is trained
            relu = values[-1] is not None
            masked = torch.ops.aten.threshold_backward(grad, values[-1], 0) if relu else grad
            return [None, masked, *found]
        with _cast_already(grad):
            for i in range(first, count - 1):
                if values[i + 1] is None:
                    x, relu, at = values[i], how.activations[i] is RELU, how.geometries[i]
                    kept[i], bias = how.passes.fold(foldings[i], x.dtype)
                    x = how.given(i, x)
                    values[i + 1] = how.passes.forward(x, kept[i], bias, at, None, relu)
        gradient, grad_shortcut = grad, grad
        for i in reversed(range(first, count)):
            activation, value = how.activations[i], values[i + 1]
            gradient = activation.backward(gradient, value)
            x, y = how.given(i, values[i]), value if activation is RELU else None
            wanted = needed[n * i : n * i + 4]
            weight, conv_bias, gamma, beta = wanted
            of = need_x or i > first, weight or gamma, conv_bias or gamma or beta
            folded = how.passes.fold(foldings[i], x.dtype)[0] if kept[i] is None else kept[i]
            # The gradient of the shortcut is known once the last step's is.
            onto = grad_shortcut if how.is_identity and i == 0 < count - 1 else None
            own = i < count - 1  # autograd's own is for others too
            behind, gradient, *grads = how.passes.backward(
                gradient, y, x, folded, how.geometries[i], of, onto, own
            )
            if i == count - 1:
                grad_shortcut = behind
            if any(wanted):
                found[n * i : n * i + 4] = how.passes.unfold(foldings[i], *grads, wanted)
        if how.is_identity and need_x and count == 1:
            gradient = gradient.add_(grad_shortcut)
        return [gradient if need_x else None, grad_shortcut if need_shortcut else None, *found]


def _cast_already(tensor: Tensor) -> AbstractContextManager[Any]:
    """Keeps autocast from what was cast in the forward pass; it does not know the device meta."""
    device = tensor.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def _autocast(tensor: Tensor) -> Tensor:
    """Returns it as autocast would give it to a convolution."""
    device = tensor.device.type
    if device == "meta":  # which autocast does not know
        return tensor
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(device))
    return tensor
