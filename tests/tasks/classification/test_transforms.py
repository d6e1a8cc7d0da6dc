"""Crops against torchvision's, on real images where there are some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.tasks.classification.transforms import (
    CenterCrop,
    ColorNoise,
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


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_colours_are_torchvisions_blends(order: tuple[int, ...], photographs: list[Path]) -> None:
    blends = (v2.functional.adjust_brightness, v2.functional.adjust_contrast,
              v2.functional.adjust_saturation)  # fmt: skip
    factors = (0.8, 1.3, 0.7)
    # Of little contrast, so that torchvision, which cuts off after each blend, cuts off nothing.
    image = Image.open(photographs[0]).convert("RGB").resize((96, 64)).point(lambda x: 90 + x // 4)
    expected = v2.functional.to_dtype(v2.functional.pil_to_tensor(image), scale=True)
    for number in order:
        expected = blends[number](expected, factors[number])
    matrix = ColorNoise().blend(image, factors, order)
    found = np.asarray(image).reshape(-1, 3) @ matrix[:, :3].T + matrix[:, 3]
    wanted = 255 * expected.permute(1, 2, 0).reshape(-1, 3).numpy()
    assert np.abs(found - wanted).max() < 0.25  # its mean is taken of other rounded values
    noise = ColorNoise(0, 0, 0, lighting=0)
    assert difference(noise(image), image) == 0


def test_strengths_are_drawn_as_torchvision_draws_them(photographs: list[Path]) -> None:
    image = Image.open(photographs[1]).convert("RGB").resize((32, 32)).point(lambda x: 90 + x // 4)
    ours, theirs = ColorNoise(0.4, 0.4, 0.4, lighting=0), v2.ColorJitter(0.4, 0.4, 0.4)

    def spread(transform: torch.nn.Module) -> np.ndarray:
        means = [np.asarray(transform(image), "float32").mean((0, 1)) for _ in range(600)]
        return np.cov(np.stack(means).T)

    np.testing.assert_allclose(spread(ours), spread(theirs), rtol=0.25)


def test_lighting_adds_one_colour_to_all_pixels() -> None:
    image = Image.new("RGB", (8, 8), (128, 128, 128))
    lighting = ColorNoise(0, 0, 0, lighting=0.1)
    torch.manual_seed(1)
    noise = np.asarray(lighting(image), "float64").reshape(-1, 3) - 128
    assert np.abs(noise).sum() > 0
    assert (noise == noise[:1]).all()
    # On average the strength of the first component, which is nearly grey.
    many = np.stack([np.asarray(lighting(image), "float64")[0, 0] - 128 for _ in range(400)])
    covariance = many.T @ many / len(many)
    vectors, values = ColorNoise.VECTORS, ColorNoise.VALUES
    expected = vectors @ np.diag((255 * 0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(covariance, expected, rtol=0.25, atol=0.5)
