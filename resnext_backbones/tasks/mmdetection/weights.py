"""Whether a detector and the weights of its backbone fit each other, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

from mmengine.config import Config

from resnext_backbones.engine.fit import (
    NONE,
    WeightsUse,
    are_fused,
    known_pixels,
)
from resnext_backbones.tasks.mmdetection.config import backbone_of
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.registry import row_named

OWN = "resnext_backbones.ResNeXt"


def use_weights(cfg: Config, weights: str) -> str:
    """Set the backbone's weights in a config, and the pixels that they expect, if these are known.

    Args:
        weights: a path, an address or an alias of docs/weights.md; or "none", with which the
            backbone starts from random values: nothing of it is frozen then, and its norms learn
            their statistics. The pixels are then the config's.

    Returns:
        What "none" has changed, for the log of the training; "" with weights.

    Raises:
        InputError: there are no such weights.
    """
    backbone = backbone_of(cfg.model)
    if weights == NONE:
        backbone["init_cfg"] = None
        changed = ", ".join(_unfreeze(backbone)) or "as the config has it"
        return f"--weights {NONE}: {changed}"
    backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    if cfg.model.get("data_preprocessor"):
        set_pixels(cfg.model)
    return ""


def pretrained(weights: str, **options: Any) -> dict[str, Any]:
    """Returns what a detector's `model` takes to start from published weights: this package's
    backbone in the place of the config's own, and the pixels that the weights expect.

    A config calls it, or takes what a config below `_base_` got by it, so that backbone, weights
    and pixels are the same whatever reads the config: MMDetection's own tools, too. Nothing is
    downloaded.

    Args:
        weights: an alias of docs/weights.md, which says the variant.
        options: of the backbone, beside a frozen first stage and frozen statistics.

    Raises:
        WeightsError: there is no such alias.
    """
    backbone = {
        "type": OWN,
        "variant": row_named(weights).variant,
        "frozen_stages": 1,
        "norm_eval": True,
        "init_cfg": {"type": "Pretrained", "checkpoint": weights},
    }
    model = {"backbone": {"_delete_": True, **backbone, **options}}
    set_pixels(model)
    return model


def set_pixels(model: MutableMapping[str, Any]) -> None:
    """Set the pixels that the weights of a detector's backbone expect, in its `data_preprocessor`.

    Nothing is downloaded for an alias.

    Args:
        model: the config of a detector, as a config file has it. Where it is not known which pixels
            its weights expect, it stays as it is.

    Raises:
        InputError: there are no such weights.
        WeightsError: there is no such alias.
    """
    source = _pretrained(backbone_of(model).get("init_cfg"))
    if source and (pixels := known_pixels(source)):
        model.setdefault("data_preprocessor", {}).update(
            mean=list(pixels.mean),
            std=list(pixels.std),
            bgr_to_rgb=pixels.order == "RGB",
            rgb_to_bgr=False,
        )


def _unfreeze(backbone: MutableMapping[str, Any]) -> Iterator[str]:
    """Let all of a backbone be trained, norms with their statistics; yields what that changes."""
    wanted = {"frozen_stages": -1, "norm_eval": False}
    for key, value in wanted.items():
        # Backbones of others may not have the argument.
        if (backbone.get("type") == OWN or key in backbone) and backbone.get(key) != value:
            yield f"{key} {backbone.get(key, 'unset')} -> {value}"
            backbone[key] = value
    norm = backbone.get("norm_cfg") or {}
    if not norm.get("requires_grad", True):
        yield "norm_cfg.requires_grad False -> True"
        norm["requires_grad"] = True


def use_of(cfg: Config) -> WeightsUse | None:
    """Returns what a detector does with its backbone's weights.

    Returns:
        None for a backbone that is not this package's, and for a run that starts from a whole
        detector: these are left alone.

    Raises:
        InputError: there are no such weights.
        WeightsError: there is no such alias.
    """
    backbone = backbone_of(cfg.model)
    if backbone.get("type") != OWN or cfg.get("load_from"):
        return None
    source = _pretrained(backbone.get("init_cfg"))
    frozen = backbone.get("frozen_stages", -1)
    return WeightsUse(
        source=source,
        wanted=known_pixels(source) if source else None,
        given=given_pixels(cfg.model),
        giver="data_preprocessor",
        frozen=f"frozen_stages={frozen}" if frozen >= 0 else "",
        unfreeze="model.backbone.frozen_stages=-1",
        norms_move=not backbone.get("norm_eval", True),
        still_norms="model.backbone.norm_eval=True",
        fused=partial(are_fused, source),
    )


def _pretrained(init_cfg: Any) -> str | None:
    """Returns the checkpoint that an `init_cfg`, or a list of them, loads."""
    cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    found = [cfg["checkpoint"] for cfg in cfgs if cfg.get("type") == "Pretrained"]
    return found[-1] if found else None


def given_pixels(model: Mapping[str, Any]) -> Preprocessing | None:
    """Returns the pixels that a detector gives its backbone; None where its config does not say.

    MMDetection reads images as BGR.
    """
    preprocessor = model.get("data_preprocessor") or {}
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        return None
    order = "RGB" if preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr") else "BGR"
    return Preprocessing(order, tuple(map(float, mean)), tuple(map(float, std)))
