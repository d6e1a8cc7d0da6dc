"""A torchvision network's backbone as configs have it: its weights, its pixels, what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from resnext_backbones.build import split
from resnext_backbones.engine.fit import NONE, WeightsUse
from resnext_backbones.errors import InputError
from resnext_backbones.models.architecture import UNSEEN, Architecture
from resnext_backbones.tasks import weights as shared
from resnext_backbones.tasks.torchvision.models import DEFAULTS, EVERYTHING
from resnext_backbones.weights import Preprocessing

READ_AS = "RGB"

MOVING = ("BN", "SyncBN")
"""The norms with the statistics of each batch."""

TRAINED = {"trainable_layers": EVERYTHING, "norm": "BN"}
"""What a backbone of random values is trained with."""


def use_weights(cfg: Config, weights: str) -> str:
    """Sets the backbone's weights as MMDetection's `use_weights`: with "none" all layers are
    trained, and norms that were frozen learn their statistics.
    """
    given_pixels(cfg.model)
    if weights != NONE:
        cfg.model.backbone.weights = weights
        shared.give_pixels(cfg.model, weights, READ_AS)
        return ""
    frozen = _frozen(cfg.model)
    cfg.model.backbone.update({"weights": None, **{name: TRAINED[name] for name in frozen}})
    return shared.said_of_none(f"{name} {old} -> {TRAINED[name]}" for name, old in frozen.items())


def use_of(cfg: Config) -> WeightsUse | None:
    """Returns what a network does with its backbone's weights; None where a run goes on."""
    if cfg.get("load_from"):
        return None
    frozen = _frozen(cfg.model)
    return shared.use_of_source(
        cfg.model.backbone.get("weights"),
        given_pixels(cfg.model),
        frozen=", ".join(f"{name}={value}" for name, value in frozen.items()),
        unfreeze=" ".join(f"model.backbone.{name}={TRAINED[name]}" for name in frozen),
        norms_move=_value(cfg.model, "norm") in MOVING,
        still_norms="model.backbone.norm=FrozenBN",
    )


def given_pixels(model: Mapping[str, Any]) -> Preprocessing:
    """Returns the pixels that a network gives its backbone; InputError: the config does not say."""
    pixels = shared.given_pixels(model, READ_AS)
    if pixels is None:
        raise InputError(
            "model.data_preprocessor: has no mean and std, which say what the backbone's pixels "
            "are; take the one of configs/_base_/torchvision.py"
        )
    return pixels


def given(model: Mapping[str, Any], *, to_resume: bool) -> dict[str, Any]:
    """Returns what of a config must be as it was in the run that a checkpoint is of."""
    architecture = _architecture(model["backbone"])
    return {
        "pixels": given_pixels(model),
        "output_stride": model.get("output_stride", _default(model, "output_stride")),
        **({name: getattr(architecture, name) for name in UNSEEN} if architecture else {}),
        **{name: _value(model, name) for name in (TRAINED if to_resume else ())},
    }


def _frozen(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of `TRAINED` by which something would stay as it is, with their values."""
    layers, norm = (_value(model, name) for name in TRAINED)
    architecture = _architecture(model["backbone"])
    everything = len(architecture.blocks) + 1 if architecture else EVERYTHING
    values = {"trainable_layers": layers} if layers < everything else {}
    return {**values, "norm": norm} if norm == "FrozenBN" else values


def _architecture(backbone: Mapping[str, Any]) -> Architecture | None:
    """Returns the architecture; None of a variant of another version."""
    try:
        return split(backbone["variant"], dict(backbone))[0]
    except (KeyError, TypeError, ValueError):
        return None


def _value(model: Mapping[str, Any], name: str) -> Any:
    return model["backbone"].get(name, _default(model, name))


def _default(model: Mapping[str, Any], name: str) -> Any:
    return DEFAULTS.get(model.get("type", ""), {}).get(name)
