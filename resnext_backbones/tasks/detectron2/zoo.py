"""What Detectron2 says of the weights that it publishes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from detectron2 import model_zoo
from detectron2.checkpoint.catalog import ModelCatalog

from resnext_backbones.engine.fit import known_pixels
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.preprocessing import BGR_UNSCALED, RGB
from resnext_backbones.weights.sources import row_of

CATALOG = "catalog://"
PREFIX, FILES = "detectron2://", "https://dl.fbaipublicfiles.com/detectron2/"
"""Detectron2's own name for its files, and where they are."""

CAFFE2_FILES = "https://dl.fbaipublicfiles.com/detectron/"


@dataclass(frozen=True)
class Expected:
    """What weights expect of a detector; None where it is not known.

    Attributes:
        pixels: that they were trained with.
        stride_in_1x1: where a block strides.
    """

    pixels: Preprocessing | None = None
    stride_in_1x1: bool | None = None


PRETRAINED = {
    f"{FILES}ImageNetPretrained/MSRA/": Expected(BGR_UNSCALED, stride_in_1x1=True),
    f"{FILES}ImageNetPretrained/torchvision/": Expected(RGB, stride_in_1x1=False),
    f"{CAFFE2_FILES}ImageNetPretrained/MSRA/": Expected(BGR_UNSCALED, stride_in_1x1=True),
    f"{CAFFE2_FILES}ImageNetPretrained/": Expected(BGR_UNSCALED, stride_in_1x1=False),
}
"""By what their addresses begin with, beside those in `weights.registry`: the notes of Detectron2's
MODEL_ZOO.md and checkpoint/catalog.py."""


def plain_name(source: str) -> str:
    """A source of weights without Detectron2's own schemes: an alias, an address or a path."""
    address = source
    if source.startswith(CATALOG):
        try:
            address = ModelCatalog.get(source.removeprefix(CATALOG))
        except (RuntimeError, KeyError):
            return source
    elif source.startswith(PREFIX):
        address = FILES + source.removeprefix(PREFIX)
    row = row_of(address)
    return row.alias if row else address


def expected_by(source: str) -> Expected:
    """What is known of weights without looking into them.

    Raises:
        InputError: there is no such file.
        WeightsError: there is no such alias.
    """
    name = plain_name(source)
    if row := row_of(name):
        return Expected(row.source.preprocessing, row.architecture.stride_in_1x1)
    for start, expected in PRETRAINED.items():
        if name.startswith(start):
            return expected
    if found := re.fullmatch(re.escape(FILES) + r"(.+)/\d+/model_\w+\.pkl", name):
        return _of_detector(found[1])
    return Expected(None if "://" in name else known_pixels(name))


def _of_detector(name: str) -> Expected:
    """What the config of a detector in the zoo says."""
    try:
        cfg = model_zoo.get_config(f"{name}.yaml")
    except RuntimeError:
        return Expected()
    mean, std = (tuple(map(float, v)) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    return Expected(Preprocessing(cfg.INPUT.FORMAT, mean, std), cfg.MODEL.RESNETS.STRIDE_IN_1X1)
