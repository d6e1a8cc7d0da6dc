"""What a file of a detector says of pixels and classes; nothing that is given may contradict it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from torchvision.models import detection

from resnext_backbones.errors import InputError
from resnext_backbones.weights.detector_arithmetic import ABSENT, COCO_ROWS, UNUSED_IDS
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.find import said_of
from resnext_backbones.weights.load import recorded
from resnext_backbones.weights.preprocessing import Preprocessing

PUBLISHED: tuple[Any, ...] = (
    detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1,
    detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1,
)
"""torchvision's detectors that are exported, with the hashes of their files and their classes."""

UNNAMED = (
    "classes: without names, since the file does not say whether its 91 rows are the ids of COCO"
)

Said = TypeVar("Said")


def agreed(option: str, given: Said | None, held: Said | None, source: str) -> Said | None:
    """Returns what a source says, or what is given where it says nothing; raises InputError where
    they differ.
    """
    if given is not None and held is not None and given != held:
        raise InputError(
            f"--{option} {given}: {source} says {held}; leave out --{option}, which is for files "
            "that do not say it"
        )
    return given if held is None else held


def pixels_said(
    source: str, file: Path, content: Mapping[str, Any], prefix: str
) -> Preprocessing | None:
    """Returns the pixels that a file says, in its metadata or beside the trunk behind a prefix;
    raises WeightsError where it says none that can be.
    """
    places = [*recorded(file, content), said_of(content, prefix)]
    try:
        return next(filter(None, map(Preprocessing.from_metadata, places)), None)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"weights {source}: its pixel normalisation: {error}") from error


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
