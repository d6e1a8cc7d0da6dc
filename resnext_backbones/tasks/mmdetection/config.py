"""A detector's config is read here; its backbone gets weights and the pixels that they expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from torch import nn

from resnext_backbones.adapters.mmengine import init_cfgs, is_pretrained
from resnext_backbones.engine import fit
from resnext_backbones.engine.config import OWN_BACKBONES, read_config
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.registry import row_named

READER = "LoadImageFromFile"
OWN_READER = f"resnext_backbones.{READER}"
OTHERS = (READER, "mmcv", "mmdet")
"""A reader's full name begins with one of these where it is OpenMMLab's."""


READ_AS = "BGR"

PRETRAINED = "pretrained"
"""MMSegmentation's networks and MMDetection 2 name the backbone's weights by it."""

TRAINED = {"frozen_stages": -1, "norm_eval": False}
"""A backbone of random values is trained with these."""


def load_config(name: str, options: Sequence[str] | None = None, **given: Any) -> Config:
    """Reads a config as `read_config`, for a detector, whose images and annotations are read as by
    all tools; classes in a file are named in it.
    """
    from resnext_backbones.adapters import openmmlab as _registers  # noqa: F401

    cfg = read_config(name, options, **given)
    from resnext_backbones.tasks.mmdetection import images as _reader  # noqa: F401
    from resnext_backbones.tasks.mmdetection.annotations import write_names
    from resnext_backbones.tasks.mmdetection.completed import use_twins

    write_names(cfg)
    use_twins(cfg)
    for transform in dicts_with(list(cfg.values()), lambda d: _is_reader(d.get("type"))):
        transform["type"] = OWN_READER
    return cfg


def _is_reader(kind: Any) -> bool:
    """Tells whether a transform, by its name or its class, is OpenMMLab's reader of images."""
    name = kind if isinstance(kind, str) else ""
    if isinstance(kind, type):
        name = f"{kind.__module__}.{kind.__name__}"
    first, last = name.split(".")[0], name.split(".")[-1]
    return first in OTHERS and last == READER


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


def use_weights(cfg: Config, weights: str) -> str:
    """Sets the backbone's weights in a config, and the pixels that they expect, if these are known.

    Args:
        weights: a path, an address or an alias of docs/weights.md; or "none", with which the
            backbone starts from random values: nothing is frozen then, and norms learn statistics.

    Returns:
        What "none" has changed, for the log of the training; "" with weights.

    Raises:
        InputError, WeightsError: there is no such file or alias.
    """
    backbone = backbone_of(cfg.model)
    for part in (cfg.model, backbone):
        part.pop(PRETRAINED, None)
    if weights == fit.NONE:
        backbone["init_cfg"] = None
        return fit.said_of_none(_unfreeze(backbone))
    backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    if cfg.model.get("data_preprocessor"):
        set_pixels(cfg.model)
    return ""


def pretrained(weights: str, **options: Any) -> dict[str, Any]:
    """Returns what a detector's `model` takes to start from published weights: this package's
    backbone in the place of the config's own, and the pixels that the weights expect.

    A config calls it, or takes what a config below `_base_` got by it, so that these are the same
    whatever reads the config: MMDetection's own tools, too. Nothing is downloaded.

    Args:
        weights: an alias of docs/weights.md, which says the variant; WeightsError if there is none.
        options: of the backbone, beside a frozen first stage and frozen statistics.
    """
    backbone = {
        "type": OWN_BACKBONES[0],
        "variant": row_named(weights).variant,
        "frozen_stages": 1,
        "norm_eval": True,
        "init_cfg": {"type": "Pretrained", "checkpoint": weights},
    }
    model = {"backbone": {"_delete_": True, **backbone, **options}}
    set_pixels(model)
    return model


def set_pixels(model: MutableMapping[str, Any]) -> None:
    """Sets in a detector's config the pixels that its backbone's weights expect, if they are known;
    InputError or WeightsError: there is no such file or alias.
    """
    fit.give_pixels(model, _pretrained(model), READ_AS)


def given_pixels(model: Mapping[str, Any]) -> Preprocessing | None:
    """Returns the pixels that a detector gives its backbone; None where its config does not say."""
    return fit.given_pixels(model, READ_AS)


def given(model: Mapping[str, Any], *, to_resume: bool) -> dict[str, Any]:
    """Returns what of a config must be as it was in the run that a checkpoint is of."""
    trained = {key: backbone_of(model).get(key) for key in TRAINED} if to_resume else {}
    return {"pixels": given_pixels(model), **trained}


def use_of(cfg: Config) -> fit.WeightsUse | None:
    """Returns what a detector does with its backbone's weights; None for a backbone that is not
    this package's, and for a run that starts from a whole detector: these are left alone.
    """
    backbone = backbone_of(cfg.model)
    if backbone.get("type") not in OWN_BACKBONES or cfg.get("load_from"):
        return None
    frozen = backbone.get("frozen_stages", -1)
    return fit.use_of_source(
        _pretrained(cfg.model),
        given_pixels(cfg.model),
        prefix=next((str(c.get("prefix") or "") for c in reversed(_loads(cfg.model))), ""),
        frozen=f"frozen_stages={frozen}" if frozen >= 0 else "",
        unfreeze="model.backbone.frozen_stages=-1",
        norms_move=not backbone.get("norm_eval", True),
        still_norms="model.backbone.norm_eval=True",
    )


def _unfreeze(backbone: MutableMapping[str, Any]) -> Iterator[str]:
    """Lets all of a backbone be trained, norms with their statistics; yields what that changes."""
    for key, value in TRAINED.items():
        # Backbones of others may not have the argument.
        known = backbone.get("type") in OWN_BACKBONES or key in backbone
        if known and backbone.get(key) != value:
            yield f"{key} {backbone.get(key, 'unset')} -> {value}"
            backbone[key] = value
    norm = backbone.get("norm_cfg") or {}
    if not norm.get("requires_grad", True):
        yield "norm_cfg.requires_grad False -> True"
        norm["requires_grad"] = True


def _pretrained(model: Mapping[str, Any]) -> str | None:
    """Returns the checkpoint that a detector's backbone loads: of its `init_cfg`, or a list of
    them; or of `pretrained`, which MMSegmentation's networks hand on to it.
    """
    backbone = backbone_of(model)
    found = [cfg.get("checkpoint") for cfg in _loads(model)]
    found += [part[PRETRAINED] for part in (model, backbone) if part.get(PRETRAINED)]
    return found[-1] if found else None


def _loads(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what of the `init_cfg` of a detector's backbone loads weights."""
    return list(filter(is_pretrained, init_cfgs(backbone_of(model))))
