"""Hooks look at a detector before its first step."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from torch import nn

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.begin import begin
from resnext_backbones.engine.fit import check_weights, stop_at
from resnext_backbones.engine.optim import in_float32
from resnext_backbones.mmcv_ops import OPERATORS, check_operators
from resnext_backbones.tasks.mmdetection.config import use_of

PERMIT = "set allow_mismatch=True of CheckWeightsHook in custom_hooks"

MMCV_OPERATORS = "mmcv.ops"
"""The modules in which mmcv's operators are called."""


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Stops before the first step where a detector does not fit the weights of its backbone, or
    those of `load_from`.

    A config brings it for MMDetection's own tool; `tools/train.py` checks the same earlier.

    Args:
        allow_mismatch: log what does not fit as a warning, and go on.
    """

    priority = "VERY_HIGH"

    def __init__(self, allow_mismatch: bool = False) -> None:
        self.allow_mismatch = allow_mismatch

    def before_train(self, runner: Any) -> None:
        """Raises InputError, unless the run goes on from a checkpoint, with a whole detector."""
        if runner._resume or runner.iter:
            return
        if runner._load_from is None:
            check_weights(use_of(runner.cfg), allow_mismatch=self.allow_mismatch, permit=PERMIT)
            return
        problems = begin(runner.cfg).problems
        stop_at(problems, allow_mismatch=self.allow_mismatch, permit=PERMIT)


class OperatorsHook(Hook):
    """Checks that a detector finds its operators, while nothing has been computed yet."""

    def before_run(self, runner: Any) -> None:
        """Raises OperatorAbsent, which names those that are not there."""
        check_operators(runner.model, OPERATORS.has)


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
        elif type(module).__module__.startswith(MMCV_OPERATORS):
            module.forward = _without_autocast(module.forward)


def _without_autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def compute(*inputs: Any, **options: Any) -> Any:
        named = {name: in_float32(value) for name, value in options.items()}
        with torch.autocast(get_device(), enabled=False):
            return forward(*in_float32(inputs), **named)

    return compute
