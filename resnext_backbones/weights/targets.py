"""What weights can be written for: one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What is written for a framework.

    Attributes:
        family: whose names the tensors have, of `formats.FORMATS`.
        file: the kind of file, of `write.WRITERS`.
    """

    family: str
    file: str


TARGETS = {
    "torchvision": Target("torchvision", "torch"),
    "timm": Target("timm", "torch"),
    "mmdet": Target("mmdet", "openmmlab"),
    "mmpretrain": Target("mmpretrain", "openmmlab"),
    "detectron2": Target("detectron2", "detectron2"),
    "safetensors": Target("mmdet", "safetensors"),
}
"""By the name that the command takes. A safetensors file has this package's own names, which are
MMDetection's for all networks."""
