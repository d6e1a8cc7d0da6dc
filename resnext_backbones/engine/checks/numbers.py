"""Numbers of a config that would end a run late, or leave it without a step, are refused first."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
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

AS_FLOATS = ("train_cfg.max_epochs", "train_cfg.max_iters", "train_cfg.val_interval")
"""MMEngine takes 9e4 for these."""

LR = "optim_wrapper.optimizer.lr"

ABOVE_ZERO = {LR: sys.float_info.max, "optim_wrapper.clip_grad.max_norm": math.inf}
"""Numbers above 0, and the largest that each may be. With a rate of 0 nothing is learned, which
somebody may want; the largest norm has it measured alone."""


def check_numbers(_: Any, built: Mapping[str, Any]) -> Iterator[str]:
    """Raises InputError where a number in what is built is none, or too small, and yields what to
    warn of.
    """
    for place, least in LEAST.items():
        value = built.get(place)
        if value is not None and not (_is_whole(value, place) and value >= least):
            raise InputError(f"{place} {value!r}: must be a whole number, at least {least}")
    for place, most in ABOVE_ZERO.items():
        value = built.get(place)
        if value is None or (_is_number(value) and 0 < value <= most):
            continue
        if place != LR or not _is_number(value) or value != 0:
            raise InputError(f"{place} {value!r}: must be a number above 0")
        yield f"config: {place} is 0: nothing will be learned"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: Any, place: str) -> bool:
    return _is_number(value) and (
        isinstance(value, Integral)
        or (place in AS_FLOATS and value % 1 == 0)
        or (place.endswith("val_interval") and value == math.inf)  # never
    )
