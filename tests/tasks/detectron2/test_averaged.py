"""Weights that a run of Detectron2's averages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import small
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from resnext_backbones import load_weights
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.averaged import (
    CURRENT,
    AveragedWeights,
    AveragingHook,
    averaged_weights,
    check_resumed,
)
from resnext_backbones.tasks.detectron2.checkpoints import Checkpointer, SafeCheckpointer
from resnext_backbones.weights.preprocessing import RGB

MOMENTUM = 0.0002


def stepped(model: nn.Module, seed: int) -> None:
    """Moves every value, counters among them, as a step would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator))
            else:
                value.add_(1)


def averaged_over(model: nn.Module, averages: AveragedWeights, steps: range) -> None:
    for step in steps:
        hook = AveragingHook(averages)
        hook.trainer = SimpleNamespace(iter=step)
        stepped(model, step)
        hook.after_step()
        assert not hook.state_dict(), "a trainer's checkpoint would hold the weights once more"


def same(first: Any, second: Any) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], msg=key)


def test_they_are_mmdetections() -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    import resnext_backbones.adapters.openmmlab  # noqa: F401, I001  its operators come first
    from mmdet.models.layers import ExpMomentumEMA

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    averages = AveragedWeights(model, MOMENTUM)
    theirs = ExpMomentumEMA(model, momentum=MOMENTUM, update_buffers=True)
    for step in range(5):
        averaged_over(model, averages, range(step, step + 1))
        theirs.update_parameters(model)
    # Counters are copied; theirs keep the first step's.
    expected = theirs.module.state_dict() | {"1.num_batches_tracked": torch.tensor(5)}
    same(averages.model.state_dict(), expected)
    assert not torch.equal(averages.model[0].weight, model[0].weight)


def test_a_run_that_goes_on_has_both_and_readers_have_the_averages(tmp_path: Path) -> None:
    model = small()
    averages = AveragedWeights(model, MOMENTUM)
    averaged_over(model, averages, range(2))
    Checkpointer(averages.model, str(tmp_path), RGB, **{CURRENT: averages}).save("model")
    path = str(tmp_path / "model.pth")

    again = small(zero_init_last_norm=False)
    found = AveragedWeights(again, MOMENTUM)
    Checkpointer(found.model, str(tmp_path), RGB, **{CURRENT: found}).resume_or_load("")
    found.begin()
    for each, other in ((model, again), (averages.model, found.model)):
        same(each.state_dict(), other.state_dict())
    for run in (averages, found):
        averaged_over(run._current, run, range(2, 3))
    same(averages.model.state_dict(), found.model.state_dict())

    with pytest.raises(InputError, match=r"averaged weights, and the config no train\.model_ema"):
        check_resumed(SafeCheckpointer(small()).load(path))
    begun = AveragedWeights(small(), MOMENTUM)
    SafeCheckpointer(begun.model).load(path, checkpointables=[])
    begun.begin()
    same(begun._current.state_dict(), torch.load(path)["model"])
    trunk = small()
    loaded = load_weights(trunk, path)
    assert loaded.averaged
    same(trunk.state_dict(), torch.load(path)["model"])


@pytest.mark.parametrize("asked", [{"momentum": 1.0}, {"decay": 0.99}, 0.1, {"momentum": "a"}])
def test_a_wrong_setting_is_named(asked: Any) -> None:
    with pytest.raises(InputError, match=r"train\.model_ema: must be dict\(momentum=\.\.\.\)"):
        averaged_weights({"model_ema": asked}, nn.Identity())
    assert averaged_weights({}, nn.Identity()) is None
