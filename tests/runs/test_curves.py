"""The picture of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.runs.curves import _by_step, draw_curves


def log(work_dir: Path, run: str, rows: list[dict], tail: str = "") -> None:
    folder = work_dir / run / "vis_data"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "scalars.json").write_text(text + tail)


def test_a_killed_and_resumed_run_is_one_curve(tmp_path: Path) -> None:
    first = [{"loss": 9.0 - i, "loss_cls": 1.0, "step": i} for i in range(1, 5)]
    first.insert(2, {"coco/bbox_mAP": 0.1, "coco/bbox_mAP_50": 0.2, "step": 1})
    log(tmp_path, "20260101_000000", first, tail='{"loss": 1')
    second = [{"loss": 0.5, "step": i} for i in range(3, 7)]
    log(tmp_path, "20260101_010000", [*second, {"coco/bbox_mAP": 0.3, "step": 2}])
    train, val = _by_step(tmp_path)
    assert [train[step]["loss"] for step in sorted(train)] == [8, 7, 0.5, 0.5, 0.5, 0.5]
    assert [val[step]["coco/bbox_mAP"] for step in sorted(val)] == [0.1, 0.3]
    path = draw_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    assert np.asarray(Image.open(path)).std() > 10


def test_nothing_logged_is_no_picture(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
    assert not list(tmp_path.iterdir())
