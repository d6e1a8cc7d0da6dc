"""What the runs have in common: small networks on a few images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.config import Config

from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.tasks.torchvision.run import use_weights

DETECTOR = [
    "model.min_size=64",
    "model.max_size=80",
    "model.options.box_batch_size_per_image=8",
    "model.options.rpn_post_nms_top_n_train=16",
    "model.options.rpn_post_nms_top_n_test=16",
    "model.options.box_score_thresh=0.0",
    "model.options.box_detections_per_img=4",
]
LOADERS = [
    f"{split}_dataloader.{option}"
    for split in ("train", "val", "test")
    for option in ("num_workers=0", "pin_memory=False")
]
SEGMENTER = [f"{split}_dataloader.dataset.size=64" for split in ("train", "val", "test")]
QUICK = [
    *LOADERS,
    "train_dataloader.batch_size=2",
    "train_cfg.max_epochs=2",
    "train_cfg.val_interval=9",
    "default_hooks.logger.interval=1",
]

Make = Callable[..., Config]


@pytest.fixture
def config(coco_tiny: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the configs of quick runs from the shipped ones."""
    monkeypatch.setenv("COCO_ROOT", str(coco_tiny))
    made: list[Config] = []

    def make(
        name: str = "faster_rcnn_x50_32x4d_fpn_coco",
        *options: str,
        weights: str | None = "none",
        images: int | None = 6,
        work_dir: str = "run",
        **training: Any,
    ) -> Config:
        quick = [*QUICK, f"model.backbone.variant={tiny}"]
        quick += DETECTOR if "rcnn" in name else SEGMENTER
        quick += [f"{split}_dataloader.dataset.indices={images}" for split in ("train", "val")]
        cfg = read_config(
            f"torchvision/{name}", [*quick, *options], work_dir=str(tmp_path / work_dir)
        )
        cfg.test_dataloader = cfg.val_dataloader
        cfg.experiment_name = f"{tmp_path.name}_{len(made)}"
        if weights is not None:
            use_weights(cfg, weights)
        if training.pop("train", True):
            for_training(cfg, **training)
        made.append(cfg)
        return cfg

    return make
