"""What blocks keep for the backward pass; the rest they compute again there.

A block keeps its input x, and what its first two convolutions give, h1 and h2. Its output is the
next block's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from resnext_backbones.compute.plain import is_observed, is_watched
from resnext_backbones.models.options import check_one_of

INNER, BLOCK, PAIR = "inner", "block", "pair"

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
    check_one_of("recompute", recompute, MODES)
    return MODES[recompute]


def computed_again(blocks: Sequence[Any], x: Tensor) -> Tensor:
    """Returns what blocks in a row make of `x`, and keeps `x` and their output alone.

    The last ReLU is outside of what is repeated, which ends with the last sum.
    """
    last = blocks[-1]

    def until_sum(x: Tensor) -> Tensor:
        for block in blocks[:-1]:
            x = block(x)
        return last.until_sum(x)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        # That of the forward pass, and that of its repetitions during the backward pass.
        return nullcontext(), _StatisticsKept(blocks)

    options: dict[str, Any] = {}
    if not torch.compiler.is_compiling():
        options["context_fn"] = contexts
    elif any(_trained_norms(blocks)):
        # Where its graph breaks, the compiler would count a batch twice; it keeps what it wants.
        return last.relu(until_sum(x))
    # Also where the input needs no gradient: behind frozen stages the parameters still do.
    if not x.requires_grad and not any(p.requires_grad for b in blocks for p in b.parameters()):
        return last.relu(until_sum(x))
    return last.relu(checkpoint(until_sum, x, use_reentrant=False, **options))


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


class _StatisticsKept:
    """Makes batch norms in training mode leave their running statistics alone, each time.

    Blocks whose forward pass is repeated would otherwise count every batch twice.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self._blocks = blocks
        self._kept: list[tuple[_BatchNorm, float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        for norm in _trained_norms(self._blocks):
            self._kept.append((norm, norm.momentum, norm.num_batches_tracked))
            norm.momentum = 0.0
            if norm.num_batches_tracked is not None:  # SyncBatchNorm asks for one
                norm.num_batches_tracked = norm.num_batches_tracked.clone()

    def __exit__(self, *_: object) -> None:
        while self._kept:
            norm, momentum, counter = self._kept.pop()
            norm.momentum, norm.num_batches_tracked = momentum, counter


def _trained_norms(blocks: Sequence[nn.Module]) -> Iterator[_BatchNorm]:
    modules = (module for block in blocks for module in block.modules())
    return (m for m in modules if isinstance(m, _BatchNorm) and m.training)
