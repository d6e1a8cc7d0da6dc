"""A run whose loss is not finite ends before anything of it is saved."""

from __future__ import annotations

import math
from typing import Any

from mmengine.dist import all_reduce
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.errors import InputError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a run whose loss is NaN or infinite, before anything of it is saved.

    The loss is the mean over all processes, and is logged as such. It is taken once the backward
    pass is under way: before it the processes would wait for one another at each step.
    """

    priority = "HIGHEST"  # before MMEngine reads the loss

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,  # noqa: ARG002
        outputs: Any = None,
    ) -> None:
        """Looks at the loss of the step, which a model of another kind may not have.

        Raises:
            InputError: it is not finite.
        """
        if "loss" not in (outputs or ()):
            return
        mean = outputs["loss"].detach().clone()
        all_reduce(mean, op="mean")
        outputs["loss"] = mean
        if not math.isfinite(loss := mean.item()):
            parts = {name: value.item() for name, value in outputs.items() if name != "loss"}
            wrong = [f"{name} {value}" for name, value in parts.items() if not math.isfinite(value)]
            raise InputError(
                f"the loss of step {runner.iter + 1} is {loss}{_listed(wrong)}: lower the learning "
                "rate or clip the gradients, or take bf16 in place of fp16; the checkpoints are "
                "from before, and --resume takes the last one"
            )


def _listed(wrong: list[str]) -> str:
    return f" ({', '.join(wrong)})" if wrong else ""
