"""Crops that decode no more than they need, colours in one pass; all else is torchvision's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import TRANSFORMS

MEAN_PIXEL = (124, 116, 104)
"""Of ImageNet: what erased pixels are, and with normalisation it is zero."""

MARGIN = 2
"""With 1 the DCT's own filter would be all that there is, and another one than torchvision's."""

COARSE = 32
"""Pixels a side that are averaged before an image's mean is taken."""

CONTRAST, SATURATION = 1, 2
"""Among the three blends of `ColorNoise`; brightness is 0."""

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

for _transform in (
    v2.ColorJitter,
    v2.PILToTensor,
    v2.RandomCrop,
    v2.RandomErasing,
    v2.RandomHorizontalFlip,
    v2.RandAugment,
    v2.TrivialAugmentWide,
):
    TRANSFORMS.register_module(module=_transform)


def cut_out(
    image: Image.Image, box: tuple[float, float, float, float], size: int, interpolation: str
) -> Image.Image:
    """A box of an image, left, top, right and bottom, at size x size pixels, in RGB.

    A JPEG that was not decoded yet is decoded at the smallest of its DCT's scales that still has
    `MARGIN` times as many pixels a side.
    """
    width, height = image.size
    # Pillow takes the scale whose image is no smaller than this.
    shrink = min(1, MARGIN * size / max(1e-6, min(box[2] - box[0], box[3] - box[1])))
    image.draft("RGB", (math.ceil(width * shrink), math.ceil(height * shrink)))
    x, y = image.size[0] / width, image.size[1] / height
    scaled = box[0] * x, box[1] * y, box[2] * x, box[3] * y
    return image.convert("RGB").resize((size, size), FILTERS[interpolation], scaled)


@TRANSFORMS.register_module()
class TimmRandAugment:
    """timm's RandAugment, whose magnitudes vary and whose kinds all grow stronger.

    Args:
        policy: as timm writes it, `rand-m7-mstd0.5-inc1` say.
    """

    def __init__(self, policy: str) -> None:
        from timm.data.auto_augment import rand_augment_transform

        options = {"translate_const": 100, "img_mean": MEAN_PIXEL}
        self.augment = rand_augment_transform(policy, options)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Augment it."""
        return self.augment(image)


@TRANSFORMS.register_module()
class RandomResizedCrop(v2.RandomResizedCrop):
    """torchvision's, which draws the same boxes, on an image that may not be decoded yet.

    Args:
        size: of the result, in pixels.
        interpolation: of `FILTERS`.
        options: torchvision's.
    """

    def __init__(self, size: int, interpolation: str = "bilinear", **options: Any) -> None:
        super().__init__(size, **options)
        self.pixels, self.filter = size, interpolation

    def forward(self, image: Image.Image) -> Image.Image:
        """Draw a box and cut it out."""
        box = self.make_params([image])
        left, top = box["left"], box["top"]
        edges = left, top, left + box["width"], top + box["height"]
        return cut_out(image, edges, self.pixels, self.filter)


@TRANSFORMS.register_module()
class CenterCrop(torch.nn.Module):
    """The middle of an image, as if its shorter side had been resized before.

    Args:
        size: of the result, in pixels.
        resize: pixels of the image's shorter side.
        interpolation: of `FILTERS`.
    """

    def __init__(self, size: int, resize: int, interpolation: str = "bilinear") -> None:
        super().__init__()
        self.pixels, self.resize, self.filter = size, resize, interpolation

    def forward(self, image: Image.Image) -> Image.Image:
        """Cut it out."""
        # In the pixels of torchvision's resized image, whose longer side is rounded down.
        resized = [self.resize * edge // min(image.size) for edge in image.size]
        x, y = (edge / small for edge, small in zip(image.size, resized, strict=True))
        left, top = (round((small - self.pixels) / 2) for small in resized)
        right, bottom = left + self.pixels, top + self.pixels
        return cut_out(image, (left * x, top * y, right * x, bottom * y), self.pixels, self.filter)


@TRANSFORMS.register_module()
class ColorNoise(torch.nn.Module):
    """Brightness, contrast, saturation and lighting drawn at random, in one pass over the pixels.

    As the authors of ResNeXt do it: blends with black, with the mean grey and with each pixel's
    grey, by 1 - strength to 1 + strength and in any order, then noise along the principal
    components of ImageNet's pixels (Krizhevsky et al., 2012, 4.1). Any order of blends makes of a
    channel `own` times itself, `grey` times the pixel's grey, and a `level` that is the same for
    all; so it is one matrix, and values are cut off once, at the end.

    Args:
        brightness, contrast, saturation: their strengths, from 0 to 1.
        lighting: standard deviation of the noise's strength; the authors take 0.1.
    """

    GREY = np.array([0.299, 0.587, 0.114])
    # Of pixels from 0 to 1: eigenvalues, and eigenvectors in columns, as in the authors' code.
    VALUES = np.array([0.2175, 0.0188, 0.0045])
    VECTORS = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        lighting: float = 0.1,
    ) -> None:
        super().__init__()
        self.strengths = (brightness, contrast, saturation)
        self.lighting = lighting

    def forward(self, image: Image.Image) -> Image.Image:
        """An RGB image, and the same with other colours."""
        draws = (2 * torch.rand(3) - 1).tolist()
        factors = [1 + s * draw for s, draw in zip(self.strengths, draws, strict=True)]
        own, grey, level = self.blend(image, factors, torch.randperm(3).tolist())
        noise = 255 * self.VECTORS @ (self.lighting * torch.randn(3).numpy() * self.VALUES)
        matrix: list[float] = []
        for channel in range(3):
            row = [grey * weight for weight in self.GREY]
            row[channel] += own
            matrix += [*row, level + noise[channel]]
        return image.convert("RGB", tuple(matrix))

    def blend(
        self, image: Image.Image, factors: Sequence[float], order: Sequence[int]
    ) -> tuple[float, float, float]:
        """`own`, `grey` and `level` of the three blends in an order.

        Args:
            factors: of brightness, contrast and saturation; 1 changes nothing.
            order: of these three, by number.
        """
        # The mean of all pixels would be slow.
        mean = np.asarray(image.reduce(COARSE)).mean((0, 1)) @ self.GREY
        own, grey, level = 1.0, 0.0, 0.0
        for number in order:
            factor = factors[number]
            if number == SATURATION:  # a level, being grey, stays as it is
                own, grey = factor * own, factor * grey + (1 - factor) * (own + grey)
                continue
            target = (own + grey) * mean + level if number == CONTRAST else 0
            own, grey = factor * own, factor * grey
            level = factor * level + (1 - factor) * target
        return own, grey, level
