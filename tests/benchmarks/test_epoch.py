"""An epoch on real images: the same steps in every setting, in turn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tooling import FEW_BOXES, ROOT, run

from benchmarks.turns import Turns, in_turn


def _steps(turns: Turns, name: str, path: Path, fails: bool) -> str:
    for step in range(3):
        turns.begin()
        if fails and step == 1:
            raise ValueError(f"{name} ends")
        with path.open("a", encoding="utf-8") as file:
            file.write(name)
        turns.end()
    return name


def test_processes_take_turns_and_none_waits_for_one_that_ended(tmp_path: Path) -> None:
    path = tmp_path / "order"
    assert in_turn(_steps, [("a", path, False), ("b", path, False)]) == ["a", "b"]
    assert path.read_text(encoding="utf-8") == "ababab"
    with pytest.raises(ValueError, match="b ends"):
        in_turn(_steps, [("a", path, False), ("b", path, True)])


@pytest.mark.whole
def test_the_same_epoch_in_every_setting(coco_tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    from benchmarks import report  # which the processes of the test above do without

    done = run(
        [sys.executable, "-m", "benchmarks.epoch"], "mask_rcnn_x50_32x4d_fpn_coco",
        "--data-root", coco_tiny, "--scale", "96x160", "--out", tmp_path, "--cfg-options",
        *FEW_BOXES, "train_dataloader.dataset.indices=4",
        PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("epoch_*.json")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert result["epoch"]["steps"] == 2
    rows = {row["label"]: row for row in result["rows"]}
    assert len(rows) == 4
    for row in rows.values():
        assert row["median"] == pytest.approx(sum(row["steps"]))
        assert row["loss"][0] == pytest.approx(rows["mmdetection"]["loss"][0], rel=1e-3)
    assert min(row["ratio"] for row in rows.values() if row["contestant"] == "mmdetection") == 1
    assert rows["resnext_backbones"]["tuning_seconds"] > 0
    assert str(coco_tiny) not in report.plain_section(result)
