"""Crops decode no more than they need, colours change in one pass; all else is torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import TRANSFORMS
from resnext_backbones.data.modes import to_rgb

MEAN_PIXEL = (124, 116, 104)  # ImageNet's, which normalisation makes zero
# With 1 the DCT's own filter would be all that there is, and another one than torchvision's.
MARGIN = 2
COARSE = 32  # pixels a side that are averaged before an image's mean is taken
CONTRAST, SATURATION = 1, 2  # among the three blends of `ColorNoise`; brightness is 0

for _name in (
    "ColorJitter", "PILToTensor", "RandomCrop", "RandomErasing", "RandomHorizontalFlip",
    "RandAugment", "TrivialAugmentWide",
):  # fmt: skip
    TRANSFORMS.register_module(module=getattr(v2, _name))


def cut_out(
    image: Image.Image, box: tuple[float, float, float, float], size: int, interpolation: str
) -> Image.Image:
    """Returns a box of an image, left, top, right and bottom, at size x size pixels, in RGB.

    A JPEG that was not decoded yet is decoded at the smallest of its DCT's scales that still has
    `MARGIN` times as many pixels a side. `interpolation` is a filter of Pillow's, `bicubic` say.
    """
    width, height = image.size
    # Pillow takes the scale whose image is no smaller than this.
    shrink = min(1, MARGIN * size / max(1e-6, min(box[2] - box[0], box[3] - box[1])))
    image.draft("RGB", (math.ceil(width * shrink), math.ceil(height * shrink)))
    x, y = image.size[0] / width, image.size[1] / height
    scaled = box[0] * x, box[1] * y, box[2] * x, box[3] * y
    resampling = Image.Resampling[interpolation.upper()]
    return to_rgb(image).resize((size, size), resampling, scaled)


@TRANSFORMS.register_module(name="TimmRandAugment")
def timm_rand_augment(policy: str) -> Callable[[Image.Image], Image.Image]:
    """Returns timm's RandAugment by a policy as timm writes it, `rand-m7-mstd0.5-inc1` say."""
    from timm.data.auto_augment import rand_augment_transform

    return rand_augment_transform(policy, {"translate_const": 100, "img_mean": MEAN_PIXEL})


@TRANSFORMS.register_module()
class RandomResizedCrop(v2.RandomResizedCrop):
    """Draws torchvision's boxes, for size x size pixels of an image that may not be decoded yet."""

    def __init__(self, size: int, interpolation: str = "bilinear", **options: Any) -> None:
        super().__init__(size, **options)
        self.pixels, self.filter = size, interpolation

    def forward(self, image: Image.Image) -> Image.Image:
        box = self.make_params([image])
        left, top = box["left"], box["top"]
        edges = left, top, left + box["width"], top + box["height"]
        return cut_out(image, edges, self.pixels, self.filter)


@TRANSFORMS.register_module()
class CenterCrop(torch.nn.Module):
    """Cuts size x size pixels out of the middle, as if the shorter side had `resize` pixels."""

    def __init__(self, size: int, resize: int, interpolation: str = "bilinear") -> None:
        super().__init__()
        self.pixels, self.resize, self.filter = size, resize, interpolation

    def forward(self, image: Image.Image) -> Image.Image:
        # In the pixels of torchvision's resized image, whose longer side is rounded down.
        resized = [self.resize * edge // min(image.size) for edge in image.size]
        x, y = (edge / small for edge, small in zip(image.size, resized, strict=True))
        left, top = (round((small - self.pixels) / 2) for small in resized)
        right, bottom = left + self.pixels, top + self.pixels
        return cut_out(image, (left * x, top * y, right * x, bottom * y), self.pixels, self.filter)


@TRANSFORMS.register_module()
class ColorNoise(torch.nn.Module):
    """Draws brightness, contrast, saturation and lighting at random, in one pass over the pixels.

    As the authors of ResNeXt do it: blends with black, with the mean grey and with each pixel's
    grey, by 1 - strength to 1 + strength and in any order, then noise along the principal
    components of ImageNet's pixels (Krizhevsky et al., 2012, 4.1). All of them are one matrix, so
    values are cut off once, at the end.

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
        draws = (2 * torch.rand(3) - 1).tolist()
        factors = [1 + s * draw for s, draw in zip(self.strengths, draws, strict=True)]
        matrix = self.blend(image, factors, torch.randperm(3).tolist())
        matrix[:, 3] += 255 * self.VECTORS @ (self.lighting * torch.randn(3).numpy() * self.VALUES)
        return image.convert("RGB", tuple(matrix.ravel().tolist()))

    def blend(
        self, image: Image.Image, factors: Sequence[float], order: Sequence[int]
    ) -> NDArray[np.float64]:
        """Returns a matrix (3, 4), for (red, green, blue, 1), of the blends with black, the mean
        grey and each pixel's grey: their factors, of which 1 changes nothing, and their order.
        """
        mean = np.ones(4)
        mean[:3] = np.asarray(image.reduce(COARSE)).mean((0, 1))  # of all pixels would be slow
        matrix = np.eye(3, 4)
        for number in order:
            factor, grey = factors[number], self.GREY @ matrix
            matrix *= factor
            if number == CONTRAST:
                matrix[:, 3] += (1 - factor) * (grey @ mean)
            elif number == SATURATION:
                matrix += (1 - factor) * grey
        return matrix
