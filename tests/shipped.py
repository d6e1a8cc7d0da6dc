"""MMDetection's shipped configs, and what their backbones give beside this package's."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mmdet
import torch
from helpers import randomise, shapes
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
KINDS = {"ResNeXt": 97, "RegNet": 26}
"""MMDetection's backbones that have a counterpart of the same name here, and how many configs of
MMDetection 3.5.1 have one; a walk that finds fewer has gone wrong."""

TOLERANCE = 1e-4


def backbones(node: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Every config of one of MMDetection's backbones in a model's config."""
    if isinstance(node, dict):
        if node.get("type") == kind:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from backbones(child, kind)


def model_of(name: str) -> dict[str, Any]:
    """The model of a shipped config."""
    return Config.fromfile(CONFIGS / name, import_custom_modules=False).model


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """The models of all shipped configs, by the config's name."""
    found = {}
    for path in sorted(CONFIGS.rglob("*.py")):
        if "_base_" in path.parts:
            continue
        try:
            model = Config.fromfile(path, import_custom_modules=False).get("model")
        except (OSError, ImportError, KeyError):
            continue  # some shipped configs inherit from files that are not shipped
        found[str(path.relative_to(CONFIGS))] = model
    return found


def on_meta(cfg: dict[str, Any]) -> nn.Module:
    """Built without memory: a detector in a second."""
    with torch.device("meta"):
        return MODELS.build(copy.deepcopy(cfg))


def without_download(cfg: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key != "init_cfg"}


@cache
def largest_difference(backbone: str) -> float:
    """Between MMDetection's feature maps and ours, from the same weights, over both modes.

    Args:
        backbone: the config as JSON. Most configs share a few backbones; each is run once.
    """
    cfg = {**json.loads(backbone), "norm_eval": True}
    peer = randomise(on_meta(cfg))
    own = on_meta({**cfg, "type": f"resnext_backbones.{cfg['type']}"}).to_empty(device="cpu")
    own.load_state_dict(peer.state_dict())
    images = torch.randn(1, 3, 96, 96)
    largest = 0.0
    for mode in (False, True):
        own.train(mode)
        peer.train(mode)
        with torch.no_grad():
            for value, reference in zip(own(images), peer(images), strict=True):
                assert reference.isfinite().all()
                assert reference.std() > 0.05, "the activations died out: nothing is compared"
                largest = max(largest, (value - reference).abs().max().item())
    return largest


def takes_this_backbone(model: dict[str, Any], kind: str) -> None:
    """Checks that a detector is the same with this package's backbone, by changing one word."""
    ours = copy.deepcopy(model)
    for backbone in backbones(ours, kind):
        backbone["type"] = f"resnext_backbones.{kind}"
    peer, own = on_meta(model), on_meta(ours)
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    for backbone in backbones(model, kind):
        text = json.dumps(without_download(backbone), sort_keys=True)
        assert largest_difference(text) <= TOLERANCE
    assert trained(own) == trained(peer)


def trained(model: nn.Module) -> set[str]:
    """The parameters that get a gradient in training."""
    model.train()
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}
