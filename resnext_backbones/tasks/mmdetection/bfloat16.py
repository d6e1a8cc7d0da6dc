"""MMDetection's detectors in bfloat16, but for boxes, and for mmcv's operators, which lack it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from torch import nn

from resnext_backbones.engine.amp import in_float32

OPERATORS = "mmcv.ops"
"""The modules in which mmcv's operators are called."""


class Bfloat16Hook(Hook):
    """Makes a detector ready for training in bfloat16, if that is what it is to do."""

    def before_train(self, runner: Any) -> None:
        """Asks the optimiser's wrapper, which opens the autocast region."""
        if getattr(runner.optim_wrapper, "cast_dtype", None) == torch.bfloat16:
            keep_boxes_exact(runner.model)


def keep_boxes_exact(detector: nn.Module) -> None:
    """Computes in float32 what autocast would hand to mmcv, or round boxes for.

    RoI extractors, which take on the type of their feature maps for the boxes, get these in
    float32; heads that predict boxes or scores to choose among them give float32; and mmcv's
    modules compute in it.
    """
    # They import mmcv's operators, and a tool first says how to compile these where there are none.
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.roi_extractors.base_roi_extractor import BaseRoIExtractor

    for module in detector.modules():
        if isinstance(module, BaseRoIExtractor):
            module.register_forward_pre_hook(lambda _, inputs: in_float32(inputs))
        elif isinstance(module, BaseDenseHead | BBoxHead):
            module.register_forward_hook(lambda _, __, outputs: in_float32(outputs))
        elif type(module).__module__.startswith(OPERATORS):
            module.forward = _without_autocast(module.forward)


def _without_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def compute(*inputs: Any, **options: Any) -> Any:
        named = {name: in_float32(value) for name, value in options.items()}
        with torch.autocast(get_device(), enabled=False):
            return forward(*in_float32(inputs), **named)

    return compute
