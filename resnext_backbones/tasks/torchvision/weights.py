"""What a config of torchvision's networks says of the backbone's weights, and of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mmengine.config import Config

from resnext_backbones.build import architecture_and_options
from resnext_backbones.engine.fit import NONE, WeightsUse, are_fused, known_pixels
from resnext_backbones.errors import InputError
from resnext_backbones.models.architecture import UNSEEN
from resnext_backbones.tasks.torchvision.models import DEFAULTS, EVERYTHING
from resnext_backbones.weights import Preprocessing

MOVING = ("BN", "SyncBN")
"""The norms with the statistics of each batch."""

TRAINED = {"trainable_layers": EVERYTHING, "norm": "BN"}
"""What a backbone of random values is trained with."""


def use_weights(cfg: Config, weights: str) -> str:
    """Sets the backbone's weights in a config, and the pixels that they expect, if these are known.

    Args:
        weights: a path, an address or an alias of docs/weights.md; or "none", with which the
            backbone starts from random values: all layers are trained then, and norms that were
            frozen learn their statistics.

    Returns:
        What "none" has changed, for the log of the training; "" with weights.

    Raises:
        InputError: there are no such weights.
        WeightsError: there is no such alias.
    """
    backbone = cfg.model.backbone
    if weights != NONE:
        backbone.weights = weights
        if pixels := known_pixels(weights):
            _preprocessor(cfg.model).update(
                mean=list(pixels.mean), std=list(pixels.std), rgb_to_bgr=pixels.order == "BGR"
            )
        return ""
    backbone.weights = None
    frozen = _frozen(cfg.model)
    backbone.update({name: TRAINED[name] for name in frozen})
    changed = ", ".join(f"{name} {old} -> {TRAINED[name]}" for name, old in frozen.items())
    return f"--weights {NONE}: {changed or 'as the config has it'}"


def use_of(cfg: Config) -> WeightsUse | None:
    """Returns what a network does with its backbone's weights; None where a run goes on.

    Raises:
        InputError: there are no such weights.
        WeightsError: there is no such alias.
    """
    if cfg.get("load_from"):
        return None
    source, frozen = cfg.model.backbone.get("weights"), _frozen(cfg.model)
    return WeightsUse(
        source=source,
        wanted=known_pixels(source) if source else None,
        given=given_pixels(cfg.model),
        giver="data_preprocessor",
        frozen=", ".join(f"{name}={value}" for name, value in frozen.items()),
        unfreeze=" ".join(f"model.backbone.{name}={TRAINED[name]}" for name in frozen),
        norms_move=_of_backbone(cfg.model, "norm") in MOVING,
        still_norms="model.backbone.norm=FrozenBN",
        fused=partial(are_fused, source),
    )


def given_pixels(model: Mapping[str, Any]) -> Preprocessing:
    """Returns the pixels that a network gives its backbone; images are read as RGB.

    Raises:
        InputError: the config does not say.
    """
    preprocessor = _preprocessor(model)
    order = "BGR" if preprocessor.get("rgb_to_bgr") else "RGB"
    mean, std = (tuple(map(float, preprocessor[name])) for name in ("mean", "std"))
    return Preprocessing(order, mean, std)


def given(model: Mapping[str, Any], *, to_resume: bool) -> dict[str, Any]:
    """Returns what of a config must be as it was in the run that a checkpoint is of."""
    return {
        "pixels": given_pixels(model),
        "output_stride": model.get("output_stride", _default(model, "output_stride")),
        **_unseen(model["backbone"]),
        **{name: _of_backbone(model, name) for name in (TRAINED if to_resume else ())},
    }


def _preprocessor(model: Mapping[str, Any]) -> Any:
    preprocessor = model.get("data_preprocessor") or {}
    if not {"mean", "std"} <= preprocessor.keys():
        raise InputError(
            "model.data_preprocessor: has no mean and std, which say what the backbone's pixels "
            "are; take the one of configs/_base_/torchvision.py"
        )
    return preprocessor


def _frozen(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of `TRAINED` by which something would stay as it is, with their values."""
    values = {name: _of_backbone(model, name) for name in TRAINED}
    kept = {"trainable_layers": values["trainable_layers"] < EVERYTHING}
    kept["norm"] = values["norm"] == "FrozenBN"
    return {name: value for name, value in values.items() if kept[name]}


def _unseen(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a backbone no tensor shows; nothing of a variant of another version."""
    try:
        architecture, _ = architecture_and_options(backbone["variant"], dict(backbone))
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: getattr(architecture, name) for name in UNSEEN}


def _of_backbone(model: Mapping[str, Any], name: str) -> Any:
    return model["backbone"].get(name, _default(model, name))


def _default(model: Mapping[str, Any], name: str) -> Any:
    return DEFAULTS.get(model.get("type", ""), {}).get(name)
