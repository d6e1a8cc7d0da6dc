"""The picture of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.curves import draw_curves
from resnext_backbones.engine.scalars import by_step


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
    scores = {"coco/bbox_mAP": 0.3, "step": 2}, {"segmentation/mIoU": 0.3, "step": 7}
    log(tmp_path, "20260101_010000", [*second, *scores])
    train, val = by_step(tmp_path)
    assert [train[step]["loss"] for step in sorted(train)] == [8, 7, 0.5, 0.5, 0.5, 0.5]
    assert sorted(val) == [1, 2, 7]
    assert [val[step]["coco/bbox_mAP"] for step in (1, 2)] == [0.1, 0.3]
    path = draw_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    assert np.asarray(Image.open(path)).std() > 10


def test_axes_have_whole_epochs_and_numbers_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"loss": 6.0 / i, "loss_rpn": 0.3 / i, "step": i} for i in range(1, 5)]
    log(tmp_path, "20260101_000000", [*rows, {"coco/bbox_mAP": 0.3, "step": 3}])
    figures = []
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda self, _: figures.append(self.figure))
    draw_curves(tmp_path)
    FigureCanvasAgg(figures[0]).draw()
    left, right = figures[0].axes
    low, high = right.get_xlim()
    assert [tick for tick in right.get_xticks() if low <= tick <= high] == [3]
    labels = left.get_yticklabels(which="both")
    boxes = sorted(b.y0 for b in (label.get_window_extent() for label in labels) if b.height)
    height = max(label.get_window_extent().height for label in labels)
    assert len(boxes) > 3
    assert min(np.diff(boxes)) > height


def test_nothing_logged_is_no_picture(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
    assert not list(tmp_path.iterdir())
