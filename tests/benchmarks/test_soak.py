"""The soak, for a few kills."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tooling import ROOT, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")


@pytest.mark.whole
def test_a_run_that_is_killed_a_few_times_ends_as_one_that_is_not(tmp_path: Path) -> None:
    done = run(
        [sys.executable, "-m", "benchmarks.soak"], "--kills", 4, "--runs", "classification/1",
        "--folder", tmp_path / "soak", "--out", tmp_path / "soak.json",
        OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    row = json.loads((tmp_path / "soak.json").read_text())["runs"]["classification/1"]
    assert sum(row["kills"].values()) == 4
    assert not row["faults"]
