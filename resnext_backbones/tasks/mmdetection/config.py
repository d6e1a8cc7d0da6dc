"""A detector's config, and its backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from torch import nn

from resnext_backbones.engine.config import dicts_with, read_config
from resnext_backbones.errors import InputError

ADAPTER = "resnext_backbones.adapters.openmmlab"
IMAGES = "resnext_backbones.tasks.mmdetection.images"

# MMDetection's reader goes on with None where a file is no image.
CHECKED_TRANSFORMS = {"LoadImageFromFile": "resnext_backbones.LoadImageFromFile"}


def load_config(name: str, options: Sequence[str] | None = None, **given: Any) -> Config:
    """Reads a config as `read_config`, for a detector: its images are checked as they are read."""
    import_module(ADAPTER)
    cfg = read_config(name, options, **given)
    import_module(IMAGES)
    for transform in dicts_with(list(cfg.values()), lambda d: d.get("type") in CHECKED_TRANSFORMS):
        transform["type"] = CHECKED_TRANSFORMS[transform["type"]]
    return cfg


def backbone_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the backbone's config in a detector's, also in one that wraps another."""
    for part in (model, model.get("detector", {})):
        if "backbone" in part:
            return part["backbone"]
    raise InputError(f"model {model.get('type')}: has no backbone")


def find_backbone(model: nn.Module) -> nn.Module:
    """Returns the backbone of a detector, also of one that wraps another."""
    names = dict(model.named_modules())
    return names.get("backbone") or names["detector.backbone"]
