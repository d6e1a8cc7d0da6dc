"""Describes the pixels that weights were trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

CHANNELS = {"RGB": 3, "BGR": 3, "grey": 1}

SEEN = "preprocessing"
"""A checkpoint of Detectron2's engine has under this name the pixels that the detector saw."""


@dataclass(frozen=True)
class Preprocessing:
    """Holds the order, mean and standard deviation of pixels.

    Attributes:
        order: of the channels, `RGB` or `BGR`, or `grey` for one.
        mean, std: of each channel in that order, for values from 0 to 255; of nine digits, which
            float32 needs: 255 * 0.224 is 57.12.
    """

    order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.order}, mean {self.mean}, std {self.std}"

    def to_metadata(self) -> dict[str, str]:
        """Returns the strings that a safetensors file carries."""
        mean, std = json.dumps(self.mean), json.dumps(self.std)
        return {"pixel_order": self.order, "pixel_mean": mean, "pixel_std": std}

    def unit(self) -> tuple[list[float], list[float]]:
        """Returns mean and standard deviation for values from 0 to 1, as torchvision has them."""
        mean, std = ([round(v / 255, 8) for v in values] for values in (self.mean, self.std))
        return mean, std

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Preprocessing | None:
        """Returns what `to_metadata` wrote; None where it is not there. Raises KeyError, TypeError
        or ValueError where it is something else.
        """
        if "pixel_order" not in metadata:
            return None
        mean, std = (json.loads(metadata[key]) for key in ("pixel_mean", "pixel_std"))
        return cls(metadata["pixel_order"], tuple(map(float, mean)), tuple(map(float, std)))

    def __post_init__(self) -> None:
        channels = CHANNELS.get(self.order)
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(
                "preprocessing is RGB or BGR with three means and stds, or grey with one, got "
                f"{self}"
            )
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        for name in ("mean", "std"):
            values = tuple(float(f"{value:.9g}") for value in getattr(self, name))
            object.__setattr__(self, name, values)


RGB = Preprocessing("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocessing("BGR", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
BGR_UNSCALED = Preprocessing("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))


PIXEL_NAMES = {RGB: "RGB", BGR: "BGR", BGR_UNSCALED: "BGR-unscaled"}
"""Tools and documents call them so."""
