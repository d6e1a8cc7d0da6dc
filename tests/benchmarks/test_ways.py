"""Tuned ways beside plain ones, in one process."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import worker
from benchmarks.command import finish
from benchmarks.contestants import OWN
from benchmarks.job import Entry, Job, Setting
from benchmarks.tables import markdown
from benchmarks.ways import measure, settings
from resnext_backbones.compute.calls import PRODUCT, Layer
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import Ways, to_rows
from resnext_backbones.compute.ways import forget, table

LAYER = Layer("cpu", torch.float32, True, (8, 8, 1, 1), Geometry((1, 1), (0, 0), (1, 1), 1))
TUNED = to_rows({LAYER: {64: Ways(PRODUCT)}})
SMALL = Setting("detector", "resnext26ts", 1, ((32, 32),), "cpu")


def test_each_turn_is_computed_in_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order changes from pair to pair, and the first pair is not counted."""
    seen: list[bool] = []

    class Watched(Job):
        def turn(self) -> float:
            seen.append(bool(table("cpu")))
            return len(seen) + 100.0 * seen[-1]

    monkeypatch.setattr(worker, "_job", Watched(SMALL, Entry(OWN)), raising=False)
    pairs = worker.turns_of_ways(TUNED, 3)
    forget("cpu")
    assert pairs == [(104, 3), (105, 6), (108, 7)]
    assert seen == [True, False, False, True, True, False, False, True]


@pytest.mark.whole
def test_a_row_says_what_was_measured() -> None:
    row = measure(SMALL, "float32", turns=3)
    assert len(row["seconds"]) == 3
    assert row["chosen"] >= 0
    result = {"ways": {"variant": SMALL.variant, "turns": 3}, "rows": [row]}
    assert "| detector | float32 | 1 x 32 x 32 |" in markdown(result)


def test_the_tasks_of_detectors_and_classifiers_are_measured() -> None:
    tasks = [(setting.task, setting.sizes) for setting in settings("cpu")]
    assert len(set(tasks)) == len(tasks) == 4


def test_a_result_is_shown_and_kept_with_its_command(monkeypatch, tmp_path, capsys) -> None:
    """But for the folder of this machine that images are in."""
    words = ["--data-root", str(tmp_path), "--turns", "3"]
    monkeypatch.setattr(sys, "argv", ["benchmarks.ways", *words])
    row = {"task": "detector", "precision": "float32", "batch": 1, "size": [32, 64], "chosen": 2}
    row |= dict.fromkeys(("ratio", "spread", "tuned", "plain", "tuning_seconds"), 0.5)
    result = {"ways": {"variant": "a", "turns": 3}, "rows": [row], "hardware": "a CPU, 2 threads"}
    finish("ways", result, tmp_path, "ways", hidden=str(tmp_path))
    kept = json.loads((tmp_path / "ways_a_2_threads.json").read_text())
    assert kept["command"] == "python -m benchmarks.ways --data-root COCO --turns 3"
    assert kept["rows"] == [row]
    shown = capsys.readouterr().out
    assert "what tuning gains, a, 3 turns" in shown
    assert "1 x 32 x 64" in shown
