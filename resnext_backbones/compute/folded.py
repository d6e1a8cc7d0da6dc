"""Steps that fold, in a row, as one node of autograd's graph.

The gradients of w, gamma and beta are those of the folded expression. On a fast GPU a node of
Python costs more than its convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from resnext_backbones.compute.activations import RELU, Activation
from resnext_backbones.compute.folding import Folding
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.kept import check_unchanged
from resnext_backbones.compute.plain import is_batched, is_transformed


class How(NamedTuple):
    """Says how steps that fold are computed."""

    passes: Any
    """The module of the passes, as of `passes_for`."""
    geometries: Sequence[Geometry]
    activations: Sequence[Activation]
    """These stand behind each step; behind the last one it is ReLU or none."""
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


class Folded(torch.autograd.Function):
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
        ctx.how, ctx.unpacked = how, None
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # Somebody may differentiate them again.
        if torch.is_grad_enabled() or is_transformed() or is_batched(grad):
            return None, *Folded._differentiable(ctx, grad)
        return None, *Folded._gradients(ctx, grad)

    @staticmethod
    def _differentiable(ctx: Any, grad: Tensor) -> list[Tensor | None]:
        """Returns the gradients by PyTorch's own operators, which compute the steps again."""
        again = torch.is_grad_enabled()
        how, first, count = ctx.how, ctx.first, len(ctx.how.epses)
        saved = _unpacked(ctx)
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
        saved = _unpacked(ctx)  # once
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


def _unpacked(node: Any) -> tuple[Any, ...]:
    """Returns what a node keeps, or what was unpacked of it before: activation checkpointing gives
    it back once.
    """
    if node.unpacked is None:
        return node.saved_tensors
    held, node.unpacked = node.unpacked, None
    return tuple(None if t is None else check_unchanged(t, version) for t, version in held)


@torch.no_grad()
def last_output(node: Any) -> Tensor:
    """Returns what a node's last step gave, without activation and shortcut, from what it keeps: it
    must keep the input of that step.
    """
    how, count = node.how, len(node.how.epses)
    saved = _unpacked(node)
    node.unpacked = [(tensor, None if tensor is None else tensor._version) for tensor in saved]
    kept, folding = saved[count - 1], how.foldings(saved[2 * count + 1 :])[-1]
    with _cast_already(kept):
        weight, bias = how.passes.fold(folding, kept.dtype)
        given = how.given(count - 1, kept)
        return how.passes.forward(given, weight, bias, how.geometries[-1], None, False)


def _cast_already(tensor: Tensor) -> AbstractContextManager[Any]:
    """Keeps autocast from what was cast in the forward pass; it does not know the device meta."""
    device = tensor.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
