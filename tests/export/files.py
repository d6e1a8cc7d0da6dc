"""Writes files of a small classifier, which say what they are told to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from helpers import small

from resnext_backbones import ResNeXtClassifier
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import Crop
from resnext_backbones.weights.recorded import CLASS_NAMES
from resnext_backbones.weights.write import write_state

CLASSES = 6


def written(
    path: Path, pixels: Preprocessing | None, crop: Crop | None = None, names: Sequence[str] = ()
) -> Path:
    network = small(ResNeXtClassifier, num_classes=CLASSES)
    said = network.architecture.to_metadata() | (pixels.to_metadata() if pixels else {})
    said |= {"crop": json.dumps(crop._asdict())} if crop else {}
    said |= {CLASS_NAMES: json.dumps(names)} if names else {}
    write_state(network.state_dict(), path, "safetensors", said)
    return path
