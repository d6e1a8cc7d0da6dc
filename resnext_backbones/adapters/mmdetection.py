"""MMDetection's detectors get the anchors of torchvision's here.

Importing this module registers `resnext_backbones.RoundedAnchorGenerator`, which a detector that
`resnext convert --detector` wrote from torchvision's takes; a config does it with `custom_imports`.
"""

from __future__ import annotations

from typing import Any

import resnext_backbones.mmcv_ops  # noqa: F401  needed by MMDetection where mmcv is not compiled

# isort: split
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor

from resnext_backbones.adapters.registry import TASK_UTILS


@TASK_UTILS.register_module()
class RoundedAnchorGenerator(AnchorGenerator):
    """Takes the arguments of MMDetection's `AnchorGenerator`; corners are whole pixels."""

    def gen_single_level_base_anchors(self, *args: Any, **options: Any) -> Tensor:
        """Returns the corners (A, 4) of a place's anchors."""
        return super().gen_single_level_base_anchors(*args, **options).round()
