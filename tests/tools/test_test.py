"""Evaluation, by running the tool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from tooling import QUICK, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")


def test_test_prints_writes_and_draws(trained, shapes_root: Path, tmp_path: Path) -> None:
    done = run(
        "test.py", "demo_shapes", trained[0] / "epoch_2.pth", "--work-dir", tmp_path / "run",
        "--out", tmp_path / "metrics.json", "--show-dir", tmp_path / "pictures",
        "--cfg-options", *QUICK, coco_root=shapes_root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"coco/bbox_mAP_50", "coco/segm_mAP_50"} <= metrics.keys()
    table = (tmp_path / "metrics.txt").read_text()
    assert table in done.stdout
    assert re.search(r"AP50.*\n.*\n.*box +│ .*\n.*mask", table)
    pictures = list((tmp_path / "pictures").glob("*.jpg"))
    assert len(pictures) == 8
    # Ground truth and what was found, side by side; the images are 128 pixels wide.
    assert {Image.open(path).width for path in pictures} == {512 + 8 + 512}


def test_a_metric_that_coco_does_not_have_is_a_dash() -> None:
    from resnext_backbones.data.coco_table import coco_table

    table = coco_table({"coco/bbox_mAP": 0.567, "coco/bbox_mAP_l": -1.0})
    row = next(line for line in table.splitlines() if "box" in line)
    assert re.findall(r"[\w.-]+", row) == ["box", "56.7", "-", "-", "-", "-", "-"]
