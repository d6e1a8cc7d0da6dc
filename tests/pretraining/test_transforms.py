"""Crops against torchvision's, on real images where there are some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.pretraining.transforms import (
    CenterCrop,
    Lighting,
    RandomResizedCrop,
    cut_out,
)


@pytest.fixture(scope="module")
def photographs(coco_tiny: Path) -> list[Path]:
    return sorted((coco_tiny / "val2017").glob("*.jpg"))[:12]


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean over pixels, of values from 0 to 255."""
    return float(np.abs(np.asarray(a, "float32") - np.asarray(b, "float32")).mean())


def test_random_crops_are_torchvisions(photographs: list[Path]) -> None:
    theirs, own = v2.RandomResizedCrop(96, antialias=True), RandomResizedCrop(96)
    for seed, path in enumerate(photographs):
        torch.manual_seed(seed)
        expected = theirs(Image.open(path).convert("RGB"))
        torch.manual_seed(seed)
        found = own(Image.open(path))
        assert found.size == (96, 96)
        assert difference(found, expected) < 2  # DCT scaling is another filter


def test_middle_crops_are_torchvisions(photographs: list[Path]) -> None:
    theirs = v2.Compose([v2.Resize(128, antialias=True), v2.CenterCrop(112)])
    own = CenterCrop(112, 128)
    for path in photographs:
        image = Image.open(path).convert("RGB")
        assert difference(own(Image.open(path)), theirs(image)) < 2
        # Decoded before, there is no DCT scaling.
        assert difference(own(image), theirs(image)) < 0.3


def test_images_are_decoded_no_larger_than_needed(photographs: list[Path]) -> None:
    image = Image.open(photographs[0])
    width, height = image.size
    cut_out(image, (0, 0, width, height), 64, "bilinear")
    assert image.size == (width // 2, height // 2)
    assert min(image.size) >= 128
    image = Image.open(photographs[0])
    cut_out(image, (0, 0, 80, 80), 64, "bilinear")
    assert image.size == (width, height)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_images_of_any_mode_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (50, 40), "red").convert(mode)
    found = CenterCrop(32, 36)(image)
    assert (found.mode, found.size) == ("RGB", (32, 32))


def test_lighting_adds_one_colour_to_all_pixels() -> None:
    image = torch.full((3, 8, 8), 128, dtype=torch.uint8)
    torch.manual_seed(1)
    noise = (Lighting(0.1)(image).float() - 128).reshape(3, -1)
    assert noise.abs().sum() > 0
    assert (noise == noise[:, :1]).all()
    # On average the strength of the first component, which is nearly grey.
    many = torch.stack([Lighting(0.1)(image)[:, 0, 0].float() - 128 for _ in range(400)])
    covariance = many.T @ many / len(many)
    vectors, values = torch.tensor(Lighting.VECTORS), torch.tensor(Lighting.VALUES)
    expected = vectors @ torch.diag((255 * 0.1 * values) ** 2) @ vectors.T
    assert torch.allclose(covariance, expected, rtol=0.25, atol=0.5)
