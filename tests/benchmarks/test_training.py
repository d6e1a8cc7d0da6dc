"""The same training with another backbone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tooling import FEW_BOXES, ROOT, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")


@pytest.mark.whole
def test_losses_are_those_of_mmdetections_backbone(coco_tiny: Path, tmp_path: Path) -> None:
    done = run(
        [sys.executable, "-m", "benchmarks.training"], "mask_rcnn_x50_32x4d_fpn_coco", "--steps", 2,
        "--out", tmp_path, "--unfolded",
        "--cfg-options", *FEW_BOXES, "train_dataloader.dataset.pipeline.2.scale=(256,160)",
        coco_root=coco_tiny, PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("training_mask_rcnn_x50_32x4d_fpn_coco_*.json")
    result = json.loads(path.read_text())
    assert result["training"]["steps"] == 2
    assert result["largest_loss_difference"] <= 1e-3
    assert all(len(run["time"]) == 2 for run in result["runs"].values())
