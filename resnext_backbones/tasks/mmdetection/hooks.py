"""What a config itself brings to MMEngine's runner, whichever tool starts it."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.fit import check_weights
from resnext_backbones.tasks.mmdetection.weights import use_of


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Stops before the first step where a detector does not fit the weights of its backbone.

    `tools/train.py` checks the same before it builds anything; MMDetection's own tool does not.

    Args:
        allow_mismatch: log what does not fit as a warning, and go on.
    """

    priority = "VERY_HIGH"

    def __init__(self, allow_mismatch: bool = False) -> None:
        self.allow_mismatch = allow_mismatch

    def before_train(self, runner: Any) -> None:
        """Check, unless the run goes on from a checkpoint, which holds a whole detector.

        Raises:
            InputError: pixels, norms or frozen stages do not fit the weights.
        """
        if runner._load_from is None and runner.iter == 0:
            check_weights(
                use_of(runner.cfg),
                allow_mismatch=self.allow_mismatch,
                permit="set allow_mismatch=True of CheckWeightsHook in custom_hooks",
            )
