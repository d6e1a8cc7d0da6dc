"""Detectron2's mappers read images as all other tools do, or end in an error that names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np
from detectron2.config import instantiate
from detectron2.data import detection_utils
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig

from resnext_backbones.data.image_files import reading
from resnext_backbones.data.pixels import read_classes, read_image

ORDERS = ("RGB", "BGR", "L")
"""Detectron2's words that are these; others, as YUV-BT.601, it reads itself."""

_sample: ContextVar[Mapping[str, Any]] = ContextVar("sample", default={})  # noqa: B039
_theirs = detection_utils.read_image


def read(file_name: str, format: str | None = None) -> Any:
    """Returns the pixels of an image, (H, W, 3), or (H, W, 1) of `L`, as Detectron2's function of
    this name, which it takes the place of; of the sample's mask the classes, (H, W, 1).
    """
    sample = _sample.get()
    with reading(file_name):
        path = PathManager.get_local_path(file_name)
    if file_name == sample.get("sem_seg_file_name"):
        return read_classes(path, file_name)[..., np.newaxis]
    if format not in ORDERS:
        with reading(file_name):
            return _theirs(file_name, format)
    size = None
    if file_name == sample.get("file_name") and {"width", "height"} <= sample.keys():
        size = sample["width"], sample["height"]
    pixels = read_image(path, file_name, order=format, size=size)
    return pixels[..., np.newaxis] if format == "L" else pixels


# Mappers, Detectron2's and others, look it up here, in workers too.
detection_utils.read_image = read


class SizedMapper:
    """Tells `read` which size a mapper's sample says that its image has."""

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.mapper = mapper

    def __call__(self, sample: dict[str, Any]) -> Any:
        token = _sample.set(sample)
        try:
            return self.mapper(sample)
        finally:
            _sample.reset(token)


def sized(loader: DictConfig) -> dict[str, Any]:
    """Returns what a LazyConfig's loader is built from, with its mapper, built, in a `SizedMapper`;
    entries keep their places in the config, by which they may refer to others.
    """
    settings = {str(key): loader[key] for key in loader}
    if settings.get("mapper") is not None:
        settings["mapper"] = SizedMapper(instantiate(settings["mapper"]))
    return settings
