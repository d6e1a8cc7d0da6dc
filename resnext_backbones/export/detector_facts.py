"""It is known of some files of detectors which names their classes have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models import detection

from resnext_backbones.weights.detector_arithmetic import ABSENT, COCO_ROWS, UNUSED_IDS
from resnext_backbones.weights.download import hash_of

PUBLISHED: tuple[Any, ...] = (
    detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1,
    detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1,
)
"""torchvision's detectors that are exported, with the hashes of their files and their classes."""

UNNAMED = (
    "classes: without names, since the file does not say whether its 91 rows are the ids of COCO"
)


def coco_names(file: Path, rows: int, bias: Tensor | None = None) -> tuple[str, ...]:
    """Returns torchvision's names of COCO's ids, the background's first, where it is known that the
    rows are these: the file is torchvision's, or ids without a class never score. Else none, since
    somebody's own 90 classes have as many rows.

    Args:
        bias: (rows,) of the classes' scores.
    """
    hashed = hash_of(file)
    for each in PUBLISHED:
        if hashed.startswith(each.url.removesuffix(".pth").rpartition("-")[2]):
            return tuple(each.meta["categories"])
    if rows == COCO_ROWS and bias is not None and (bias[list(UNUSED_IDS)] == ABSENT).all():
        return tuple(PUBLISHED[0].meta["categories"])
    return ()
