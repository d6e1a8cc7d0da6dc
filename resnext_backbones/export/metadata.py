"""An exported file says what it is, in strings that every format can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import resnext_backbones
from resnext_backbones.engine.provenance import commit
from resnext_backbones.export.subject import Output
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import Crop

UNKNOWN = "unknown"


def preprocessing_text(pixels: Preprocessing | None, crop: Crop | str | None) -> str:
    """Returns what must become of an image before the network takes it, as JSON.

    Args:
        pixels: None writes `unknown` alone, which nobody can take for a normalisation.
        crop: of the accuracy that the weights were published with; `whole` for images as they are;
            None where it is not known, or a trunk takes any size.
    """
    if pixels is None:
        return json.dumps(UNKNOWN)
    said: dict[str, Any] = {
        "order": pixels.order,
        "range": [0, 255],
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "crop": crop._asdict() if isinstance(crop, Crop) else crop,
    }
    return json.dumps(said)


def outputs_text(outputs: Sequence[Output]) -> str:
    """Returns names, channels and strides as JSON."""
    return json.dumps([vars(output) for output in outputs])


def made_by() -> dict[str, str]:
    """Returns what wrote a file: this package, its commit and PyTorch."""
    return {
        "resnext_backbones": resnext_backbones.__version__,
        "commit": commit(Path(__file__).parent) or UNKNOWN,
        "torch": torch.__version__,
    }


def missing(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Returns the keys of metadata that a file does not say, or says otherwise."""
    return [key for key, value in wanted.items() if found.get(key) != value]
