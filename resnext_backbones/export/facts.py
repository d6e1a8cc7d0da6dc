"""Weights, or those who have them, say which images they expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.load import recorded
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import WHOLE, Crop
from resnext_backbones.weights.sources import row_of, row_of_file

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
        own: Facts = Facts(row.source.preprocessing, row.crop)
    else:
        own = _recorded(source, recorded(file, content))
    for option, given, held in (("pixels", pixels, own.pixels), ("crop", crop, own.crop)):
        if given is not None and held is not None and given != held:
            raise InputError(
                f"--{option} {given}: {source} says {held}; leave out --{option}, which is for "
                "weights that do not say it"
            )
    return Facts(own.pixels or pixels, own.crop or crop)


def _recorded(source: str, places: list[Mapping[str, Any]]) -> Facts:
    pixels, crop = None, None
    for place in places:
        try:
            pixels = pixels or Preprocessing.from_metadata(place)
            crop = crop or crop_of(place)
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"weights {source}: what it says of its pixels: {error}") from error
    return Facts(pixels, crop)


def crop_of(place: Mapping[str, Any]) -> Crop | str | None:
    """Returns the crop that metadata say; None where they say none."""
    if CROP not in place:
        return None
    value = json.loads(place[CROP])
    return value if value == WHOLE else Crop(**value)
