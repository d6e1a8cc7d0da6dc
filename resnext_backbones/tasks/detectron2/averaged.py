"""`train.model_ema` of a LazyConfig has weights averaged, which Detectron2 leaves to its users."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from resnext_backbones.errors import InputError

EMA = "model_ema"
CURRENT = "current_model_state"
"""A checkpoint of such a run has the averages as its `model`, which all readers take, and the
weights of the last step under this key."""

Tensors = tuple[Tensor, ...] | list[Tensor]

RAMP = 2000
"""Steps in which the first, larger moves fade, as of MMDetection's ExpMomentumEMA."""


class AveragedWeights:
    """Averages weights and statistics after each step, as MMDetection's ExpMomentumEMA does.

    Behind step t, from 0, the averages move by m + (1 - m) exp(-(1 + t) / 2000) of the way to the
    weights; behind the first they are these.

    Args:
        model: the one that is trained, without what distributes it.
        momentum: m.
    """

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self._current, self._momentum = model, momentum
        self._averaged = AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)
        self._share, self._was_loaded = 1.0, False

    @property
    def model(self) -> nn.Module:
        """Returns the model with the averages, to be evaluated and saved."""
        return self._averaged.module

    def state_dict(self) -> Any:
        """Returns the weights of the last step."""
        return self._current.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Loads what `state_dict` gave."""
        self._current.load_state_dict(state)
        self._was_loaded = True

    def begin(self) -> None:
        """Has training begin with what was loaded into `model`, where there was nothing else."""
        if not self._was_loaded:
            self._current.load_state_dict(self.model.state_dict())

    def follow(self, step: int) -> None:
        """Moves the averages behind a step."""
        self._share = self._momentum + (1 - self._momentum) * math.exp(-(1 + step) / RAMP)
        self._averaged.n_averaged.fill_(step)
        self._averaged.update_parameters(self._current)

    def _move(self, averaged: Tensors, current: Tensors, _: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, self._share)
        else:  # counters
            torch._foreach_copy_(averaged, current)


class AveragingHook(HookBase):
    """Has averages follow each step; it has no state, which a trainer's checkpoint would hold."""

    def __init__(self, averages: AveragedWeights) -> None:
        self._averages = averages

    def after_step(self) -> None:
        self._averages.follow(self.trainer.iter)


def averaged_weights(train: Mapping[str, Any], model: nn.Module) -> AveragedWeights | None:
    """Returns what averages a model as a config's `train` asks; None where it does not.

    Raises:
        InputError: `model_ema` has no momentum, or one out of range.
    """
    asked = train.get(EMA)
    if not asked:
        return None
    momentum = asked.get("momentum") if isinstance(asked, Mapping) else None
    if not isinstance(momentum, float) or not 0 < momentum < 1 or len(asked) > 1:
        raise InputError(f"train.{EMA}: must be dict(momentum=...) between 0 and 1, got {asked}")
    return AveragedWeights(model, momentum)


def check_resumed(rest: Mapping[str, Any]) -> None:
    """Raises InputError where a run would go on from averages alone.

    Args:
        rest: what of its checkpoint nothing has taken.
    """
    if CURRENT in rest:
        raise InputError(
            f"--resume: the checkpoint has averaged weights, and the config no train.{EMA}: keep "
            "it, or begin a new run from them in another --work-dir, by train.init_checkpoint"
        )
