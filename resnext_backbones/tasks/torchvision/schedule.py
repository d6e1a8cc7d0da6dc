"""The learning rate of a detector warms up, and that of a segmentation network falls."""

from __future__ import annotations

from typing import Any

from mmengine.optim import LinearLR, PolyLR

from resnext_backbones.adapters.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmUp(LinearLR):
    """Warms up as MMEngine's does, over some steps, or the first epoch where that is shorter.

    A config has it with `convert_to_iter_based=True`, for an epoch's length to be known.
    """

    @classmethod
    def build_iter_from_epoch(
        cls, *, optimizer: Any, steps: int, epoch_length: int, end: int
    ) -> WarmUp:
        """Returns one over `steps` steps at most, from one of so many parts of the rate."""
        del end  # MMEngine sets it to the last epoch
        last = max(2, min(steps, epoch_length))  # MMEngine needs two steps for a line
        return cls(optimizer, start_factor=1 / last, begin=0, end=last, by_epoch=False)


@PARAM_SCHEDULERS.register_module()
class PolynomialLR(PolyLR):
    """Falls as PyTorch's of this name does, to 0 behind the last step.

    MMEngine's is 0 at the last step, which then changes nothing.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.total_iters = self.end - self.begin
