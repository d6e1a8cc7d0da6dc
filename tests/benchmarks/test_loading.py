"""What checking weights costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tooling import ROOT, run


def test_the_tool_measures_in_turn_and_reports(tmp_path: Path) -> None:
    done = run(
        [sys.executable, "-m", "benchmarks.loading"], "--variant", "resnext26_32x4d",
        "--turns", 2, "--out", tmp_path, PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(next(tmp_path.glob("loading_*.json")).read_text())
    assert all(len(seconds) == 2 for seconds in result["seconds"].values())
    assert result["bytes"] > 5e7
    assert f"ratio {result['ratio']:.2f}" in done.stdout
