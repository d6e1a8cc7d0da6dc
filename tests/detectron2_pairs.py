"""Backbones of Detectron2's and ours with the same weights; only where Detectron2 is there."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone
from helpers import randomise, relative_error, shapes
from torch import nn

OWN = {
    "build_resnet_backbone": "build_resnext_backbone",
    "build_resnet_fpn_backbone": "build_resnext_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone": "build_resnext_retinanet_fpn_backbone",
}
TOLERANCE = 1e-4


def ours(cfg: CfgNode) -> CfgNode:
    """The config with one word changed."""
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.NAME = OWN[cfg.MODEL.BACKBONE.NAME]
    return cfg


def small(*options: Any, name: str = "build_resnet_backbone") -> CfgNode:
    """A ResNeXt-50 that computes in milliseconds."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.NUM_GROUPS = cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.merge_from_list(list(options))
    return cfg


def pair(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    """Ours and Detectron2's, with the same weights."""
    peer, own = randomise(build_backbone(cfg)), build_backbone(ours(cfg))
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    own.load_state_dict(peer.state_dict())
    return own, peer


def same_maps(own: nn.Module, peer: nn.Module) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, references = own(images), peer(images)
    assert list(maps) == list(references)
    for key, reference in references.items():
        assert reference.isfinite().all()
        assert reference.std() > 0.01, "the activations died out: nothing is compared"
        assert relative_error(maps[key], reference) <= TOLERANCE, key


def trained(backbone: nn.Module) -> set[str]:
    """What gets a gradient, by Detectron2's names."""
    values = {id(value): name for name, value in backbone.state_dict(keep_vars=True).items()}
    return {values[id(value)] for value in backbone.parameters() if value.requires_grad}
