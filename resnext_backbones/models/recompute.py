"""What blocks keep for the backward pass; the rest they compute again there.

A block keeps its input x, and what its first two convolutions give, h1 and h2. Its output is the
next block's input. Attention keeps its own input alone, whatever the mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.checkpoint import checkpoint

from resnext_backbones.compute.conv_norm import activate, call
from resnext_backbones.compute.kept import check_unchanged, is_forbidden, keeping, remember
from resnext_backbones.compute.plain import draws, is_known, is_observed, is_watched
from resnext_backbones.models.options import check_one_of

INNER, BLOCK, PAIR = "inner", "block", "pair"

NO_TASK = -1
"""Autograd gives each backward pass a number, and this one to what is outside of any."""

MODES: dict[bool | str, str] = {
    False: "",
    INNER: INNER,  # x, and one of h1 and h2; of blocks that do not fold, x
    BLOCK: BLOCK,  # x
    True: BLOCK,
    PAIR: PAIR,  # x of every second block
}
"""By the argument `recompute`, the name of what is kept."""


def mode_of(recompute: bool | str) -> str:
    """Returns the name in `MODES`, or raises a ValueError that lists what there is."""
    recompute = recompute or False  # a network's own attribute may be ""
    check_one_of("recompute", recompute, MODES)
    return MODES[recompute]


def computed_again(blocks: Sequence[Any], x: Tensor) -> Tensor:
    """Returns what blocks in a row make of `x`, and keeps `x` and their output alone.

    The last activation is outside of what is repeated, which ends with the last sum.
    """
    last = blocks[-1]

    def until_sum(x: Tensor) -> Tensor:
        for block in blocks[:-1]:
            x = block(x)
        return last.until_sum(x)

    options: dict[str, Any] = {}
    if not torch.compiler.is_compiling():
        options["context_fn"] = partial(_contexts, blocks)
    elif any(_trained_norms(m for block in blocks for m in block.modules())):
        # Where its graph breaks, the compiler would count a batch twice; it keeps what it wants.
        return activate(until_sum(x), last.relu)
    if not _is_trained(x, blocks):
        return activate(until_sum(x), last.relu)
    with keeping(x):
        out = checkpoint(until_sum, x, use_reentrant=False, **options)
    return activate(out, last.relu)


def attended(attention: nn.Module, x: Tensor) -> Tensor:
    """Returns `attention(x)`, and keeps `x` alone: the backward pass computes the rest again, once,
    for itself and for who keeps what is returned. Somebody's own module, which may count or draw
    what it likes, is called once.
    """
    if (
        not torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or is_observed(x)
        or is_forbidden()
        or not _is_trained(x, [attention])
        or any(is_watched(m) or is_parametrized(m) or not is_known(m) for m in attention.modules())
    ):
        return call(attention, x)

    def run(x: Tensor) -> tuple[Tensor, Any]:
        out = attention(x)
        return out, _Held.apply(out).grad_fn

    drops = any(map(draws, attention.modules()))
    contexts = partial(_contexts, [attention], unchanged=True)
    options: dict[str, Any] = {"context_fn": contexts, "preserve_rng_state": drops}
    with keeping(x):
        out, node = checkpoint(run, x, use_reentrant=False, **options)
    remember(out, _Again(node))
    return out


class _Held(torch.autograd.Function):
    """Saves a tensor, for who asks its node. No gradient flows here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.new_empty(0)


class _Again:
    """Gives what a node of `_Held` saved, as often as a backward pass asks for it: activation
    checkpointing gives it back once.
    """

    def __init__(self, node: Any) -> None:
        self.node, self.task, self.made = node, NO_TASK, torch.empty(0)

    def __call__(self) -> Tensor:
        task = torch._C._current_graph_task_id()
        if task == NO_TASK or task != self.task:
            self.task, (self.made,) = task, self.node.saved_tensors
        return self.made


class Pairs(nn.Sequential):
    """A stage that keeps the input of every second block."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C_in, H, W) to (N, C_out, H', W')."""
        return in_pairs(list(self), x)


def in_pairs(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Returns what blocks in a row make of `x`, and keeps the input of every second one."""
    again = torch.is_grad_enabled() and not is_observed(x)
    for i in range(0, len(blocks), 2):
        pair = blocks[i : i + 2]
        able = (hasattr(type(block), "until_sum") and not is_watched(block) for block in pair)
        if again and all(able):
            x = computed_again(pair, x)
        else:  # somebody put another module there, or wants to see each being called
            for block in pair:
                x = block(x)
    return x


def _is_trained(x: Tensor, modules: Sequence[nn.Module]) -> bool:
    """Returns whether there is a gradient: behind frozen stages parameters have one, if not `x`."""
    return x.requires_grad or any(p.requires_grad for m in modules for p in m.parameters())


Context = AbstractContextManager[Any]


def _contexts(modules: Sequence[nn.Module], *, unchanged: bool = False) -> tuple[Context, Context]:
    """Returns that of a forward pass, and that of its repetitions during the backward pass.

    Args:
        unchanged: parameters and fixed statistics that were changed in place between the two are an
            error, as they are where they are saved.
    """
    parts = [part for module in modules for part in module.modules()]
    read: list[Tensor | None] = [p for part in parts for p in part._parameters.values()]
    read += [b for part in parts if not part.training for b in part._buffers.values()]
    return nullcontext(), _AsBefore(parts, [t for t in read if unchanged and t is not None])


class _AsBefore:
    """Repeats what modules computed: each time they are in the mode that they were in, and batch
    norms in training mode leave their running statistics alone, which count every batch once.
    """

    def __init__(self, modules: Sequence[nn.Module], read: Sequence[Tensor]) -> None:
        self._modes = [(module, module.training) for module in modules]
        self._versions = [(tensor, tensor._version) for tensor in read]
        self._kept: list[tuple[_BatchNorm, float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        for tensor, version in self._versions:
            check_unchanged(tensor, version)
        self._swap_modes()
        for norm in _trained_norms(module for module, _ in self._modes):
            self._kept.append((norm, norm.momentum, norm.num_batches_tracked))
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:  # SyncBatchNorm asks for one
                norm.num_batches_tracked = norm.num_batches_tracked.clone()

    def __exit__(self, *_: object) -> None:
        while self._kept:
            norm, momentum, counter = self._kept.pop()
            norm.momentum, norm.num_batches_tracked = momentum, counter
        self._swap_modes()

    def _swap_modes(self) -> None:
        for i, (module, mode) in enumerate(self._modes):
            if module.training != mode:
                self._modes[i] = module, module.training
                module.training = mode


def _trained_norms(modules: Iterable[nn.Module]) -> Iterator[_BatchNorm]:
    return (m for m in modules if isinstance(m, _BatchNorm) and m.training)
