"""Numbers of a config that would end a run late, or leave it without a step, are refused first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from resnext_backbones.errors import InputError

LEAST: dict[str, int] = {
    "train_cfg.max_epochs": 1,
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "train_cfg.val_begin": 0,
    "train_dataloader.batch_size": 1,
    "train_dataloader.num_workers": 0,
    "val_dataloader.batch_size": 1,
    "val_dataloader.num_workers": 0,
    "test_dataloader.batch_size": 1,
    "test_dataloader.num_workers": 0,
    "optim_wrapper.accumulative_counts": 1,
    "default_hooks.logger.interval": 1,
    "randomness.seed": 0,
}
"""Whole numbers, and the least that each may be."""

LR = "optim_wrapper.optimizer.lr"

ABOVE_ZERO = (LR, "optim_wrapper.clip_grad.max_norm")
"""With 0 nothing is learned, which somebody may want of a rate."""


def check_numbers(_: Any, built: Mapping[str, Any]) -> Iterator[str]:
    """Raises InputError where a number in what is built is none, or too small, and yields what to
    warn of.
    """
    for place, least in LEAST.items():
        value = built.get(place)
        if value is not None and not (type(value) is int and value >= least):
            raise InputError(f"{place} {value!r}: must be a whole number, at least {least}")
    for place in ABOVE_ZERO:
        value = built.get(place)
        if value is None or (type(value) in (int, float) and 0 < value < math.inf):
            continue
        if place != LR or type(value) not in (int, float) or value != 0:
            raise InputError(f"{place} {value!r}: must be a number above 0")
        yield f"config: {place} is 0: nothing will be learned"
