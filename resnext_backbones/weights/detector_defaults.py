"""Finds what of a detector's anchors, boxes and pools is not as all frameworks build it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.configs import value_at

RATIOS = (0.5, 1.0, 2.0)
"""Each place of a map has anchors of these ratios."""

GENERATOR: dict[str, Any] = {
    "scales": [8],
    "ratios": list(RATIOS),
    "strides": [4, 8, 16, 32, 64],
    "base_sizes": None,
}
"""They are so in words of MMDetection's configs."""

Allowed = dict[str, tuple[Any, ...]]


def _coder(head: str) -> Allowed:
    return {
        f"{head}.bbox_coder.type": ("DeltaXYWHBBoxCoder", None),
        f"{head}.bbox_coder.target_means": ([0, 0, 0, 0], None),
        f"{head}.bbox_coder.clip_border": (True, None),
        f"{head}.bbox_coder.add_ctr_clamp": (False, None),
    }


def _pool(part: str) -> Allowed:
    pools = f"roi_head.{part}_roi_extractor"
    return {
        f"{pools}.type": ("SingleRoIExtractor", None),
        f"{pools}.finest_scale": (56, None),
        f"{pools}.featmap_strides": ([4, 8, 16, 32], None),
        f"{pools}.roi_layer.type": ("RoIAlign", None),
        f"{pools}.roi_layer.sampling_ratio": (0, None),
        f"{pools}.roi_layer.aligned": (True, None),
        f"{pools}.roi_layer.pool_mode": ("avg", None),
    }


DEFAULTS: Allowed = {
    "rpn_head.anchor_generator.type": ("AnchorGenerator", None),
    "rpn_head.anchor_generator.center_offset": (0, None),
    "rpn_head.anchor_generator.centers": (None,),
    **_coder("rpn_head"),
    "rpn_head.bbox_coder.target_stds": ([1, 1, 1, 1], None),
    **_pool("bbox"),
    **_coder("roi_head.bbox_head"),
    **_pool("mask"),
}
"""A config of MMDetection has one of these values there; None where it leaves it out."""

SCALED: Allowed = {"roi_head.bbox_head.bbox_coder.target_stds": ([0.1, 0.1, 0.2, 0.2], None)}
"""And this, for which other frameworks have an argument."""


def other_settings(model: Any) -> Iterator[str]:
    """Yields what the model of a config of MMDetection says that is none of these defaults."""
    model, allowed = in_default_words(model), DEFAULTS | SCALED
    if value_at(model, "rpn_head.anchor_generator") is not None:
        allowed |= {f"rpn_head.anchor_generator.{name}": (v,) for name, v in GENERATOR.items()}
    for place, values in allowed.items():
        if (said := value_at(model, place)) not in values:
            yield f"{place}={said}"


def in_default_words(model: Any) -> Any:
    """Returns a model of MMDetection's as its config says it, in the words of these tables where
    others say the same, and with what a coder of boxes has where it is given without: stds of 1.
    """
    model = copy.deepcopy(model)
    coder = value_at(model, "roi_head.bbox_head.bbox_coder")
    if isinstance(coder, dict):
        coder.setdefault("target_stds", [1.0] * 4)
    if isinstance(generator := value_at(model, "rpn_head.anchor_generator"), Mapping):
        model["rpn_head"]["anchor_generator"] = _plain_anchors(generator)
    return model


def _plain_anchors(generator: Mapping[str, Any]) -> dict[str, Any]:
    """Returns anchors in the words of `GENERATOR`: strides of both sides, sizes that are the
    strides, one scale an octave.
    """
    said = dict(generator)
    strides = said.get("strides") or []
    said["strides"] = [s[0] if isinstance(s, list) and len({*s}) == 1 else s for s in strides]
    if said.get("base_sizes") == said["strides"]:
        said["base_sizes"] = None
    if said.get("scales") is None and said.get("scales_per_octave") == 1:
        said["scales"] = [said.get("octave_base_scale")]
    return said


def other_anchors(notes: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of anchors in a file of Detectron2's that are not the default ones."""
    for name, held in notes.items():
        if ".cell_anchors." in name and isinstance(held, Tensor):
            size = 32.0 * 2 ** int(name.rsplit(".", 1)[1])
            corners = [[-(r**-0.5), -(r**0.5), r**-0.5, r**0.5] for r in RATIOS]
            usual = torch.tensor(corners) * size / 2
            if held.shape != usual.shape or not torch.allclose(held.float(), usual, atol=1e-3):
                yield name
