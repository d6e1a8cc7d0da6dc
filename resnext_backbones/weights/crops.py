"""What part of an image the published accuracies were measured on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resnext_backbones.weights.registry import Published

SIZE = 224
"""Pixels a side, for all of them."""


@dataclass(frozen=True)
class Crop:
    """The middle of an image.

    Attributes:
        resize: pixels of the image's shorter side, before the middle is cut out.
        interpolation: by which it is resized, `bilinear` or `bicubic`.
    """

    resize: int
    interpolation: str


USUAL = Crop(256, "bilinear")

CROPS = {
    r"torchvision/(.*\.v2|resnext101_64x4d\.v1)": Crop(232, "bilinear"),
    r"timm/.*\.(a1|a1h|a2|a3|c1)_in1k": Crop(235, "bicubic"),
    r"(timm/.*\.(ra|bt|gluon)_in1k|fair/.*\.torch7)": Crop(256, "bicubic"),
}
"""By what an alias is like, where it is not `USUAL`: torchvision's `Weights.transforms()`, timm's
`pretrained_cfg` (of 0.95 of the side, 224 are 235), and transforms.lua of fb.resnet.torch."""


def crop_of(row: Published) -> Crop:
    """Returns the crop that a row's accuracy was measured on."""
    found = (crop for pattern, crop in CROPS.items() if re.fullmatch(pattern, row.alias))
    return next(found, USUAL)
