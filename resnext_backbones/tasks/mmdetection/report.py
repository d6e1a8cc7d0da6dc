"""What of a detector of MMDetection is said, and looked at, before the first step."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from torch import nn

from resnext_backbones.mmcv_ops import OPERATORS, check_operators


class OperatorsHook(Hook):
    """Checks that a detector finds its operators, while nothing has been computed yet."""

    def before_run(self, runner: Any) -> None:
        """Looks for them.

        Raises:
            OperatorAbsent: some are not there; the message names them.
        """
        check_operators(runner.model, OPERATORS.has)


def find_backbone(model: nn.Module) -> nn.Module:
    """Returns the backbone of a detector, also of one that wraps another."""
    names = dict(model.named_modules())
    return names.get("backbone") or names["detector.backbone"]


def pixels(preprocessor: nn.Module) -> str:
    """Says order, mean and standard deviation of the pixels that the backbone sees, 0 to 255."""
    if not hasattr(preprocessor, "_enable_normalize"):
        return f"as {type(preprocessor).__name__} makes them"
    # MMDetection reads images as BGR; `_channel_conversion` says whether they are turned.
    order = "RGB" if getattr(preprocessor, "_channel_conversion", False) else "BGR"
    if not preprocessor._enable_normalize:
        return f"{order}, not normalised"
    mean, std = (
        tuple(round(v, 3) for v in getattr(preprocessor, name).flatten().tolist())
        for name in ("mean", "std")
    )
    return f"{order}, mean {mean}, std {std}"
