"""Whether a detector and the weights of its backbone fit each other, before anything is built."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from resnext_backbones.detection.config import backbone_of
from resnext_backbones.detection.fit import WeightsUse, check_use, known_pixels
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.sources import locate

OWN = "resnext_backbones.ResNeXt"


def use_weights(cfg: Config, weights: str) -> None:
    """Set the backbone's weights in a config, and the pixels that they expect, if these are known.

    Args:
        weights: a path, an address or an alias of docs/weights.md.

    Raises:
        InputError: there are no such weights.
    """
    backbone_of(cfg.model)["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    pixels = known_pixels(weights)
    preprocessor = cfg.model.get("data_preprocessor")
    if pixels and preprocessor:
        preprocessor.update(
            mean=list(pixels.mean),
            std=list(pixels.std),
            bgr_to_rgb=pixels.order == "RGB",
            rgb_to_bgr=False,
        )


def check_weights(cfg: Config, *, allow_mismatch: bool = False) -> None:
    """Check that pixels, norms and frozen stages of a detector fit its backbone's weights.

    Detectors whose backbone is not this package's are left alone, and so are runs that start from
    a whole detector.

    Args:
        allow_mismatch: log what does not fit as a warning, and go on.

    Raises:
        InputError: something does not fit.
        WeightsError: the weights cannot be had or read.
    """
    backbone = backbone_of(cfg.model)
    if backbone.get("type") != OWN or cfg.get("load_from") or cfg.get("resume"):
        return
    source = _pretrained(backbone.get("init_cfg"))
    frozen = backbone.get("frozen_stages", -1)
    preprocessor = cfg.model.get("data_preprocessor") or {}
    use = WeightsUse(
        source=source,
        wanted=known_pixels(source) if source else None,
        given=_pixels(preprocessor),
        giver="data_preprocessor",
        frozen=f"frozen_stages={frozen}" if frozen >= 0 else "",
        unfreeze="model.backbone.frozen_stages=-1",
        norms_move=not backbone.get("norm_eval", True),
        still_norms="model.backbone.norm_eval=True",
        fused=lambda: Checkpoint.of(read_file(locate(source or ""))).fused,
    )
    check_use(use, allow_mismatch=allow_mismatch, warn=_warn)


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)


def _pretrained(init_cfg: Any) -> str | None:
    """The checkpoint that an `init_cfg`, or a list of them, loads."""
    cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    found = [cfg["checkpoint"] for cfg in cfgs if cfg.get("type") == "Pretrained"]
    return found[-1] if found else None


def _pixels(preprocessor: Mapping[str, Any]) -> Preprocessing | None:
    """What a detector gives its backbone; images are read as BGR."""
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        return None
    order = "RGB" if preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr") else "BGR"
    return Preprocessing(order, tuple(map(float, mean)), tuple(map(float, std)))
