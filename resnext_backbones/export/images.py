"""Real images become what the network of a file takes, as its metadata say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from resnext_backbones.data.find_images import is_left_over
from resnext_backbones.errors import InputError
from resnext_backbones.export.metadata import UNKNOWN
from resnext_backbones.export.subject import Subject
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import WHOLE, Crop


def preprocessing_of(subject: Subject, option: str) -> dict[str, Any]:
    """Returns what becomes of an image, its `crop` as of `Subject`; InputError: it is not known,
    and `option` needs it.
    """
    said = json.loads(subject.metadata["preprocessing"])
    if said == UNKNOWN:
        raise InputError(
            f"{option}: the weights do not say which pixels they expect, and with others the "
            "result is wrong; --pixels says it"
        )
    if subject.crop is None:
        raise InputError(
            f"{option}: the weights do not say what is cut out of an image, and with another size "
            "the result is wrong; --crop says it, as --crop 224/256, or --crop whole"
        )
    return {**said, "crop": subject.crop}


def array_of(image: Image.Image, said: Mapping[str, Any]) -> NDArray[np.float32]:
    """Returns an RGB image as (1, C, H, W), cut and normalised as `preprocessing_of` says."""
    if said["crop"] != WHOLE:
        image = _cut(image, said["crop"])
    if said["order"] == "grey":
        image = image.convert("L")
    stored = np.asarray(image).reshape(image.height, image.width, -1)
    return normalised(stored, Preprocessing(said["order"], said["mean"], said["std"]))


def normalised(stored: NDArray[np.uint8], pixels: Preprocessing) -> NDArray[np.float32]:
    """Returns an image (H, W, C) of bytes, in RGB or grey, as a network takes it: (1, C, H, W)."""
    turned = stored[..., ::-1] if pixels.order == "BGR" else stored
    mean, std = (np.asarray(value, np.float32) for value in (pixels.mean, pixels.std))
    return np.ascontiguousarray(((turned.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None])


def _cut(image: Image.Image, crop: Crop) -> Image.Image:
    """Returns the middle of an image whose shorter side has `resize` pixels."""
    sides = [crop.resize * edge // min(image.size) for edge in image.size]
    resampling = Image.Resampling[crop.interpolation.upper()]
    image = image.resize((sides[0], sides[1]), resampling)
    left, top = (round((side - crop.size) / 2) for side in sides)
    return image.crop((left, top, left + crop.size, top + crop.size))


def some_of(folder: Path, option: str, most: int) -> list[Path]:
    """Returns at most so many images of a folder, at any depth, evenly over the sorted names.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: there is no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS)
    found = [path for path in found if not is_left_over(str(path.relative_to(folder)))]
    if not found:
        raise InputError(f"{option} {folder}: there is no image in it, at any depth")
    return [found[i * len(found) // most] for i in range(most)] if len(found) > most else found
