"""A detector's config, and what training and testing need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config

from resnext_backbones.engine.config import dicts_with, read_config
from resnext_backbones.errors import InputError

ADAPTER = "resnext_backbones.adapters.openmmlab"
IMAGES = "resnext_backbones.tasks.mmdetection.images"

# MMDetection's reader goes on with None where a file is no image.
CHECKED_TRANSFORMS = {"LoadImageFromFile": "resnext_backbones.LoadImageFromFile"}


def load_config(
    name: str,
    options: Sequence[str] | None = None,
    *,
    work_dir: str | None = None,
    launcher: str = "none",
) -> Config:
    """As `read_config`, for a detector: its images are checked as they are read.

    Raises:
        InputError: as `read_config`, or mmcv has none of the operators that were asked for.
    """
    import_module(ADAPTER)
    cfg = read_config(name, options, work_dir=work_dir, launcher=launcher)
    import_module(IMAGES)
    for transform in dicts_with(list(cfg.values()), lambda d: d.get("type") in CHECKED_TRANSFORMS):
        transform["type"] = CHECKED_TRANSFORMS[transform["type"]]
    return cfg


def backbone_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's config in a detector, also in one that wraps another.

    Raises:
        InputError: there is none.
    """
    for part in (model, model.get("detector", {})):
        if "backbone" in part:
            return part["backbone"]
    raise InputError(f"model {model.get('type')}: has no backbone")
