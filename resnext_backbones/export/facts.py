"""Weights, or those who have them, say which images they expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext_backbones.weights.load import recorded
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import WHOLE, Crop
from resnext_backbones.weights.sources import agreed, row_of, row_of_file, said_in

CROP = "crop"
"""A run's facts have the crop of its evaluation under this key, as JSON."""


@dataclass(frozen=True)
class Facts:
    """Holds pixels and crop; None is what nobody said."""

    pixels: Preprocessing | None
    crop: Crop | str | None


def facts_of(
    source: str,
    file: Path,
    content: Mapping[str, Any],
    pixels: Preprocessing | None,
    crop: Crop | str | None,
) -> Facts:
    """Returns what a source says of its images, or what is said of it where it does not.

    Raises:
        InputError: it says something else than what is given.
        WeightsError: what it says cannot be read.
    """
    if row := row_of(source) or row_of_file(file):
        held, cut = row.source.preprocessing, row.crop
    else:
        places = recorded(file, content)
        held = said_in(places, Preprocessing.from_metadata, source)
        cut = said_in(places, crop_of, source, "crop")
    return Facts(agreed("pixels", pixels, held, source), agreed("crop", crop, cut, source))


def crop_of(place: Mapping[str, Any]) -> Crop | str | None:
    """Returns the crop that metadata say; None where they say none."""
    if CROP not in place:
        return None
    value = json.loads(place[CROP])
    return value if value == WHOLE else Crop(**value)
