"""What the runs have in common: small networks on a few images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnext_backbones.tasks.torchvision import Settings

FEW_BOXES = {
    "box_batch_size_per_image": 8,
    "rpn_post_nms_top_n_train": 16,
    "rpn_post_nms_top_n_test": 16,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 4,
}


@pytest.fixture
def settings(coco_tiny: Path, tiny: str, tmp_path: Path) -> Callable[..., Settings]:
    """Those of a quick run."""

    def make(model: str = "faster_rcnn", **changes: Any) -> Settings:
        quick: dict[str, Any] = {
            "backbone": tiny,
            "work_dir": tmp_path / "run",
            "coco_root": coco_tiny,
            "epochs": 2,
            "limit_images": 6,
            "min_size": (64,),
            "max_size": 80,
            "workers": 0,
            "eval_every": 9,
            "model_options": FEW_BOXES if "rcnn" in model else {},
        }
        return Settings(model=model, **quick | changes)

    return make
