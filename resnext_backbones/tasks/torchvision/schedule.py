"""The beginning of a detector's schedule."""

from __future__ import annotations

from typing import Any

from mmengine.optim import LinearLR

from resnext_backbones.adapters.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmUp(LinearLR):
    """Warms up as MMEngine's does, over some steps, or the first epoch where that is shorter.

    A config has it with `convert_to_iter_based=True`, for an epoch's length to be known.
    """

    @classmethod
    def build_iter_from_epoch(
        cls,
        *,
        optimizer: Any,
        steps: int,
        epoch_length: int,
        end: int,  # noqa: ARG003 MMEngine sets it to the last epoch
    ) -> WarmUp:
        """Returns one over `steps` steps at most, from one of so many parts of the rate."""
        last = max(2, min(steps, epoch_length))  # MMEngine needs two steps for a line
        return cls(optimizer, start_factor=1 / last, begin=0, end=last, by_epoch=False)
