"""Published weights expect certain pixels, and where a block strides: Detectron2's and ours."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from detectron2 import model_zoo
from detectron2.checkpoint.catalog import ModelCatalog

from resnext_backbones.engine.fit import known_pixels
from resnext_backbones.errors import InputError
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.preprocessing import BGR_UNSCALED, RGB
from resnext_backbones.weights.registry import row_named
from resnext_backbones.weights.sources import row_of

CATALOG = "catalog://"
PREFIX, FILES = "detectron2://", "https://dl.fbaipublicfiles.com/detectron2/"
"""Detectron2's own name for its files, and where they are."""

CAFFE2_FILES = "https://dl.fbaipublicfiles.com/detectron/"


class Expected(NamedTuple):
    """Says which pixels weights were trained with, and where a block strides; None: unknown."""

    pixels: Preprocessing | None = None
    stride_in_1x1: bool | None = None


PRETRAINED = {
    f"{FILES}ImageNetPretrained/MSRA/": Expected(BGR_UNSCALED, stride_in_1x1=True),
    f"{FILES}ImageNetPretrained/torchvision/": Expected(RGB, stride_in_1x1=False),
    f"{CAFFE2_FILES}ImageNetPretrained/MSRA/": Expected(BGR_UNSCALED, stride_in_1x1=True),
    f"{CAFFE2_FILES}ImageNetPretrained/": Expected(BGR_UNSCALED, stride_in_1x1=False),
}
"""Their addresses begin so, beside those in `weights.registry`: from the notes of Detectron2's
MODEL_ZOO.md and checkpoint/catalog.py."""


def plain_name(source: str) -> str:
    """Returns a source of weights without Detectron2's schemes: an alias, an address or a path."""
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
    """Returns what is known of weights without a look into them; InputError or WeightsError: there
    is no such file or alias.
    """
    name = plain_name(source)
    if row := row_of(name):
        return Expected(row.source.preprocessing, row.architecture.stride_in_1x1)
    for start, expected in PRETRAINED.items():
        if name.startswith(start):
            return expected
    if found := re.fullmatch(re.escape(FILES) + r"(.+)/\d+/model_\w+\.pkl", name):
        try:
            cfg = model_zoo.get_config(f"{found[1]}.yaml")
        except RuntimeError:
            return Expected()
        mean, std = (tuple(map(float, v)) for v in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
        pixels = Preprocessing(cfg.INPUT.FORMAT, mean, std)
        return Expected(pixels, cfg.MODEL.RESNETS.STRIDE_IN_1X1)
    return Expected(None if "://" in name else known_pixels(name))


def networks_of(*aliases: str) -> dict[str, dict[str, Any]]:
    """Returns a table of networks for a LazyConfig, by variant: what `variants_of` does, with
    depth, groups and width as Detectron2 has them in place of the variant's name.

    Raises:
        WeightsError: there is no such alias.
        InputError: the words for depth, groups and width do not say all of its network.
    """
    found = {}
    for alias, row in zip(aliases, variants_of(*aliases).values(), strict=True):
        name = row.pop("variant")
        network = VARIANTS[name]
        c, d = network.cardinality, network.base_width
        if network != Architecture(blocks=network.blocks, cardinality=c, base_width=d):
            raise InputError(
                f"{alias}: {name} is no plain network: give ResNeXtBackbone variant={name!r} in "
                "place of depth, num_groups and width_per_group"
            )
        words = {"depth": network.depth, "num_groups": c, "width_per_group": d}
        found[name] = {**words, **row}
    return found


def variants_of(*aliases: str) -> dict[str, dict[str, Any]]:
    """Returns a table of networks for a LazyConfig, by variant: arguments of `ResNeXtBackbone`,
    published weights by the aliases of docs/weights.md, and the pixels that these expect. Nothing
    is downloaded.

    Raises:
        WeightsError: there is no such alias.
    """
    found = {}
    for alias in aliases:
        row = row_named(alias)
        pixels = row.source.preprocessing
        found[row.variant] = {
            "variant": row.variant,
            "weights": alias,
            "pixel_mean": list(pixels.mean),
            "pixel_std": list(pixels.std),
            "image_format": pixels.order,
        }
    return found
