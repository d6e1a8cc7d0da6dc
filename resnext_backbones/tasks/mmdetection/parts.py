"""The parts of a detector must be there and fit one another, before any of it is built."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from resnext_backbones.engine.walk import walk
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.models import ResNeXt

IN_ORDER = frozenset(
    {
        "CSPNeXtPAFPN", "ChannelMapper", "FPG", "FPN", "FPN_CARAFE", "FPN_DropBlock", "HRFPN",
        "NASFCOS_FPN", "NASFPN", "PAFPN", "YOLOXPAFPN",
    }
)  # fmt: skip
"""Necks that take all feature maps of a backbone, in their order."""

EXTRACTOR = "SingleRoIExtractor"
"""This gives as many channels as it gets; others may join some."""

NECK = r"\.neck(\.\d+)?"

READERS = {
    r"\.(rpn|bbox)_head": "in_channels",
    r"\.roi_head\.(?P<kind>bbox|mask)_roi_extractor": "out_channels",
    r"\.roi_head\.(?P<kind>bbox|mask)_head(\.\d+)?": "in_channels",
}
"""Parts of a model that read the neck's feature maps say in these settings how many channels."""

STRIDES = {
    r"\.(rpn|bbox)_head\.(anchor|prior)_generator": ("strides", operator.eq),
    r"\.roi_head\.(bbox|mask)_roi_extractor": ("featmap_strides", operator.le),
}
"""Parts name the strides of all of the neck's feature maps, or of the first ones."""


def check_model(cfg: Config) -> None:
    """Raises InputError where parts disagree about the channels of the feature maps that one hands
    to the other.
    """
    init_default_scope(cfg.get("default_scope") or "mmengine")
    model = cfg.model.get("detector") or cfg.model
    if "type" not in (model.get("backbone") or ()):
        return
    prefix = "model.detector" if model is not cfg.model else "model"
    parts = {place: part for place, part in walk(model, "") if isinstance(part, Mapping)}
    necks = [(place, part) for place, part in parts.items() if re.fullmatch(NECK, place)]
    if not necks:
        return
    for setting, given, wanted in _unlike(model, parts, necks):
        words = str(wanted).replace(" ", "")
        raise InputError(
            f"{prefix}{setting} {given}: the feature maps before it have {wanted} channels; set "
            f"{prefix}{setting}={words}"
        )
    for setting, given, levels in _strides(parts, necks[-1][1]):
        raise InputError(
            f"{prefix}{setting} {given}: the neck gives {levels} feature maps (num_outs); name one "
            "stride for each"
        )


def _unlike(
    model: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
    necks: Sequence[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, Any, Any]]:
    """Yields settings of channels that do not fit, with what they say and what they should."""
    if channels := feature_channels(model["backbone"]):
        place, neck = necks[0]
        wanted = neck.get("in_channels")
        ordered = _plain_name(neck) in IN_ORDER
        if isinstance(wanted, Sequence) and not isinstance(wanted, str):
            fits = list(wanted) == list(channels) if ordered else {*wanted} <= {*channels}
        else:
            fits = ordered or wanted is None or wanted in channels
        if not fits:
            yield f"{place}.in_channels", wanted, list(channels)
    features = necks[-1][1].get("out_channels")
    for place, part in parts.items() if isinstance(features, int) else ():
        for pattern, key in READERS.items():
            found = re.fullmatch(pattern, place)
            given = part.get(key) if found and _is_plain(model, found) else None
            if isinstance(given, int) and given != features:
                yield f"{place}.{key}", given, features


def _strides(
    parts: Mapping[str, Mapping[str, Any]], neck: Mapping[str, Any]
) -> Iterator[tuple[str, Any, int]]:
    """Yields strides of other feature maps than the neck gives, and how many it gives."""
    levels = neck.get("num_outs")
    if not isinstance(levels, int) or _plain_name(neck) not in IN_ORDER:
        return
    for place, part in parts.items():
        for pattern, (key, fits) in STRIDES.items():
            given = part.get(key) if re.fullmatch(pattern, place) else None
            if isinstance(given, list | tuple) and not fits(len(given), levels):
                yield f"{place}.{key}", given, levels


def _is_plain(model: Mapping[str, Any], place: re.Match[str]) -> bool:
    """Tells whether a head of regions, or another, is handed the feature maps as they are."""
    kind = place.groupdict().get("kind")
    extractor = model["roi_head"].get(f"{kind}_roi_extractor") if kind else None
    return not kind or (isinstance(extractor, Mapping) and _plain_name(extractor) == EXTRACTOR)


def _plain_name(part: Mapping[str, Any]) -> str:
    return str(part.get("type")).removeprefix("mmdet.")


def feature_channels(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the channels of a backbone's feature maps; () where they cannot be known without a
    GPU's memory or an image. Raises InputError where an argument of it is wrong.
    """
    try:
        with torch.device("meta"):
            built = MODELS.build(dict(backbone))
    except BUILD_ERRORS as error:
        raise InputError(f"model.backbone: {error}") from error
    except (RuntimeError, NotImplementedError):  # it computes with its weights as it is built
        return ()
    if isinstance(built, ResNeXt):
        return built.channels
    return _seen_on_meta(built)


def _seen_on_meta(built: nn.Module) -> tuple[int, ...]:
    """Returns the channels of what a backbone makes of an image without memory for its pixels."""
    built.eval()  # which MMDetection's own do not return from
    try:
        with torch.no_grad():
            outputs = built(torch.empty(1, 3, 256, 256, device="meta"))
        return tuple(output.shape[1] for output in outputs)
    except Exception:  # whatever it is that others' programs do
        return ()
