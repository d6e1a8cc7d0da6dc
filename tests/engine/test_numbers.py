"""A number that would end a run late is refused before its first step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mmengine.config import Config

from resnext_backbones.engine.checks.numbers import ABOVE_ZERO, LEAST, LR, check_numbers
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.errors import InputError


@pytest.mark.parametrize("place", LEAST)
def test_whole_numbers(place: str) -> None:
    for value in (LEAST[place] - 1, 1.5, "one", True):
        with pytest.raises(InputError, match=rf"^{place} .*{value}.*: must be a whole number, at"):
            list(check_numbers(None, {place: value}))
    assert not list(check_numbers(None, {place: LEAST[place]}))


@pytest.mark.parametrize("place", ABOVE_ZERO)
def test_numbers_above_zero(place: str) -> None:
    for value in (-0.1, "0.1x", float("nan"), *((math.inf,) if place == LR else (0,))):
        with pytest.raises(InputError, match=rf"^{place} .*{value}.*: must be a number above 0"):
            list(check_numbers(None, {place: value}))
    assert not list(check_numbers(None, {place: 1e-9}))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("train_cfg.max_iters", 9e4),
        ("train_cfg.max_epochs", np.int64(3)),
        ("train_cfg.val_interval", math.inf),
        (LR, np.float64(0.1)),
        ("optim_wrapper.clip_grad.max_norm", math.inf),
    ],
)
def test_numbers_that_mmengine_takes(place: str, value: float) -> None:
    assert not list(check_numbers(None, {place: value}))


def test_a_rate_of_zero_is_warned_of() -> None:
    assert list(check_numbers(None, {LR: 0})) == [f"config: {LR} is 0: nothing will be learned"]


def test_a_run_is_asked_before_it_is_built() -> None:
    with pytest.raises(InputError, match=r"train_cfg.val_interval 0: must be a whole number"):
        check_run(Config({"train_cfg": {"val_interval": 0}, "work_dir": "w"}), "train")
