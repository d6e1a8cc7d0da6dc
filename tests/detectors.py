"""Detectors that are not trained, and find something all the same."""

from __future__ import annotations

from pathlib import Path

import torch

DETECTOR = [
    "model.backbone.depth=(1,1,1,1)",
    "model.backbone.groups=8",
    "model.backbone.variant=None",
    "model.test_cfg.rcnn.score_thr=0.0",
    "model.test_cfg.rcnn.max_per_img=20",
]
"""The settings of `demo_coco` that make it."""


def save_detector(path: Path, seed: int) -> Path:
    """Write the checkpoint of a detector with random weights."""
    from mmdet.datasets import CocoDataset
    from mmengine.registry import MODELS, init_default_scope

    from resnext_backbones.tasks.mmdetection.config import load_config

    cfg = load_config("demo_coco", DETECTOR)
    init_default_scope("mmdet")
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    meta = {"dataset_meta": CocoDataset.METAINFO}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, path)
    return path
