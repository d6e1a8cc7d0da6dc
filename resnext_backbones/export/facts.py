"""Weights, or those who have them, say which images they expect, and what their classes are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import WHOLE, Crop
from resnext_backbones.weights.recorded import CLASS_NAMES, CROP, recorded
from resnext_backbones.weights.sources import agreed, row_of, row_of_file, said_in


@dataclass(frozen=True)
class Facts:
    """Holds pixels and crop, where None is what nobody said, and the classes' names by label, none
    where they are not known.
    """

    pixels: Preprocessing | None
    crop: Crop | str | None
    classes: tuple[str, ...] = ()


def facts_of(
    source: str,
    file: Path,
    content: Mapping[str, Any],
    prefix: str,
    pixels: Preprocessing | None,
    crop: Crop | str | None,
) -> Facts:
    """Returns what a source says of its images and classes, in its file or beside the trunk behind
    a prefix, or what is given where it does not.

    Raises:
        InputError: it says something else than what is given.
        WeightsError: what it says cannot be read.
    """
    if row := row_of(source) or row_of_file(file):
        held, cut, classes = row.source.preprocessing, row.crop, None
    else:
        places = recorded(file, content, prefix)
        held = said_in(places, Preprocessing.from_metadata, source)
        cut = said_in(places, crop_of, source, "crop")
        classes = said_in(places, classes_of, source, "names of classes")
    pixels, crop = agreed("pixels", pixels, held, source), agreed("crop", crop, cut, source)
    return Facts(pixels, crop, classes or ())


def crop_of(place: Mapping[str, Any]) -> Crop | str | None:
    """Returns the crop that metadata say; None where they say none."""
    if not isinstance(text := place.get(CROP), str):
        return None
    value = json.loads(text)
    return value if value == WHOLE else Crop(**value)


def classes_of(place: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names by label that metadata say; none where they say none."""
    text = place.get(CLASS_NAMES)
    return tuple(map(str, json.loads(text))) if isinstance(text, str) else ()
