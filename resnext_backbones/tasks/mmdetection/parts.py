"""The parts of a detector must be there and fit one another, before any of it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.models import ResNeXt

IN_ORDER = frozenset(
    {
        "CSPNeXtPAFPN", "ChannelMapper", "FPG", "FPN", "FPN_CARAFE", "FPN_DropBlock", "HRFPN",
        "NASFCOS_FPN", "NASFPN", "PAFPN", "YOLOXPAFPN",
    }
)  # fmt: skip
"""Necks that take all feature maps of a backbone, in their order."""

PLAIN_EXTRACTOR = "SingleRoIExtractor"
"""This gives as many channels as it gets; others may join some."""

SAME = ("rpn_head", "bbox_head")
"""Heads of `model` read the neck's feature maps, whose channels they name in `in_channels`."""


def check_model(cfg: Config) -> None:
    """Raises InputError where parts disagree about the channels of the feature maps that one hands
    to the other.
    """
    init_default_scope(cfg.get("default_scope") or "mmengine")
    model = cfg.model.get("detector") or cfg.model
    if "type" not in (model.get("backbone") or ()):
        return
    for setting, given, wanted in _unlike(model):
        prefix = "model.detector" if model is not cfg.model else "model"
        words = str(wanted).replace(" ", "")
        raise InputError(
            f"{prefix}.{setting} {given}: the feature maps before it have {wanted} channels; set "
            f"{prefix}.{setting}={words}"
        )


def _unlike(model: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields settings of channels that do not fit, with what they say and what they should."""
    necks = model.get("neck") or ()
    necks = [("neck", necks)] if isinstance(necks, Mapping) else _numbered("neck", necks)
    necks = [(place, neck) for place, neck in necks if isinstance(neck, Mapping)]
    channels = feature_channels(model["backbone"])
    if necks and channels:
        place, neck = necks[0]
        wanted = neck.get("in_channels")
        ordered = _plain_name(neck) in IN_ORDER
        if isinstance(wanted, Sequence) and not isinstance(wanted, str):
            fits = list(wanted) == list(channels) if ordered else {*wanted} <= {*channels}
        else:
            fits = ordered or wanted is None or wanted in channels
        if not fits:
            yield f"{place}.in_channels", wanted, list(channels)
    features = necks[-1][1].get("out_channels") if necks else None
    if not isinstance(features, int):
        return
    for head in SAME:
        yield from _compare(head, model.get(head), "in_channels", features)
    yield from _of_regions(model.get("roi_head"), features)


def _of_regions(roi_head: Any, features: int) -> Iterator[tuple[str, Any, Any]]:
    """Yields the settings of the heads of regions, whose extractors hand on the feature maps."""
    if not isinstance(roi_head, Mapping):
        return
    for kind in ("bbox", "mask"):
        extractor = roi_head.get(f"{kind}_roi_extractor")
        if not isinstance(extractor, Mapping) or _plain_name(extractor) != PLAIN_EXTRACTOR:
            continue
        place = f"roi_head.{kind}_roi_extractor"
        yield from _compare(place, extractor, "out_channels", features)
        heads = roi_head.get(f"{kind}_head")
        place = f"roi_head.{kind}_head"
        each = [(place, heads)] if isinstance(heads, Mapping) else _numbered(place, heads or ())
        for inner, head in each:
            yield from _compare(inner, head, "in_channels", features)


def _compare(place: str, part: Any, key: str, features: int) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(part, Mapping) and isinstance(part.get(key), int) and part[key] != features:
        yield f"{place}.{key}", part[key], features


def _numbered(place: str, nodes: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(f"{place}.{index}", node) for index, node in enumerate(nodes)]


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
