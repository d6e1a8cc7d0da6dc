"""Hooks that look at a detector before its first step."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.fit import check_weights
from resnext_backbones.mmcv_ops import OPERATORS, check_operators
from resnext_backbones.tasks.mmdetection.config import use_of


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Stops before the first step where a detector does not fit the weights of its backbone.

    A config brings it for MMDetection's own tool; `tools/train.py` checks the same earlier.

    Args:
        allow_mismatch: log what does not fit as a warning, and go on.
    """

    priority = "VERY_HIGH"

    def __init__(self, allow_mismatch: bool = False) -> None:
        self.allow_mismatch = allow_mismatch

    def before_train(self, runner: Any) -> None:
        """Raises InputError, unless the run goes on from a checkpoint, with a whole detector."""
        if runner._load_from is None and runner.iter == 0:
            check_weights(
                use_of(runner.cfg),
                allow_mismatch=self.allow_mismatch,
                permit="set allow_mismatch=True of CheckWeightsHook in custom_hooks",
            )


class OperatorsHook(Hook):
    """Checks that a detector finds its operators, while nothing has been computed yet."""

    def before_run(self, runner: Any) -> None:
        """Raises OperatorAbsent, which names those that are not there."""
        check_operators(runner.model, OPERATORS.has)
