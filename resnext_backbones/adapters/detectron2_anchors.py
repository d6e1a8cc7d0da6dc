"""Detectron2's detectors get the anchors of torchvision's here.

Importing this module registers `RoundedAnchorGenerator`, which a detector that
`resnext convert --detector` wrote from torchvision's takes as `MODEL.ANCHOR_GENERATOR.NAME`.
"""

from __future__ import annotations

from typing import Any

from detectron2.modeling import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from torch import Tensor


@ANCHOR_GENERATOR_REGISTRY.register()
class RoundedAnchorGenerator(DefaultAnchorGenerator):
    """Takes the arguments of Detectron2's `DefaultAnchorGenerator`; corners are whole pixels."""

    def generate_cell_anchors(self, *args: Any, **options: Any) -> Tensor:
        """Returns the corners (A, 4) of a place's anchors."""
        return super().generate_cell_anchors(*args, **options).round()
