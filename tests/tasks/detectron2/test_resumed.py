"""Whose settings a run of Detectron2's has when it goes on."""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

import torch
from detectron2.solver import LRMultiplier
from fvcore.common.param_scheduler import MultiStepParamScheduler
from torch import nn

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.resumed import OptimizerSettings

STEPS = MultiStepParamScheduler([1, 0.1], milestones=[50], num_updates=100)


def optimiser(kind: Any = torch.optim.SGD, *, groups: int = 1, **options: Any):
    parts = [{"params": [nn.Parameter(torch.ones(2))]} for _ in range(groups)]
    return kind(parts, **{"lr": 0.1, **options})


def saved(step: int, **options: Any) -> tuple[dict, dict]:
    """The states of an optimiser and its schedule after so many steps."""
    own = optimiser(**options)
    schedule = LRMultiplier(own, STEPS, 100)
    for _ in range(step):
        own.step()
        schedule.step()
    return copy.deepcopy(own.state_dict()), schedule.state_dict()


@pytest.mark.parametrize("step", [10, 60])
@pytest.mark.parametrize("is_made_later", [False, True], ids=["YAML", "lazy"])
def test_the_rate_of_the_config_holds(step: int, is_made_later: bool) -> None:
    state, of_schedule = saved(step, momentum=0.9)
    own = optimiser(lr=0.02, momentum=0.5)
    schedule = None if is_made_later else LRMultiplier(own, STEPS, 100)
    with OptimizerSettings(own).put_back(own, schedule) as changed:
        own.load_state_dict(state)
        if schedule:
            schedule.load_state_dict(of_schedule)
    schedule = schedule or LRMultiplier(own, STEPS, 100, last_iter=step - 1)
    (group,) = own.param_groups
    assert group["lr"] == pytest.approx(0.02 * (1 if step < 50 else 0.1))
    assert group["momentum"] == 0.5
    assert sorted(changed) == ["lr 0.1 -> 0.02", "momentum 0.9 -> 0.5"]


def test_what_is_the_same_is_not_touched() -> None:
    state, _ = saved(60)
    state["param_groups"][0]["lr"] = 0.123
    own = optimiser()
    with OptimizerSettings(own).put_back(own) as changed:
        own.load_state_dict(state)
    assert own.param_groups[0]["lr"] == 0.123
    assert not changed


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (lambda: optimiser(torch.optim.AdamW), "betas.*AdamW needs"),
        (lambda: optimiser(torch.optim.RMSprop), "RMSprop needs"),
        (lambda: optimiser(groups=2), "groups"),
    ],
)
def test_a_state_that_fits_nothing(own: Any, words: str) -> None:
    made = own()
    with (
        pytest.raises(InputError, match=f"(?s)--resume: .*{words}.*--work-dir"),
        OptimizerSettings(made).put_back(made),
    ):
        made.load_state_dict(saved(3)[0])
