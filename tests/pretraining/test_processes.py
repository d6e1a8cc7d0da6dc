"""Several processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.runs.checkpoints import read_journal

TOOL = Path(__file__).parents[2] / "tools" / "pretrain_imagenet.py"


def losses(
    config: Path, work_dir: Path, processes: int, *options: str
) -> tuple[list[float], dict[str, float]]:
    """Of each step, and what the last weights were evaluated to."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [
            sys.executable, *(torchrun if processes > 1 else []), str(TOOL), str(config),
            "--work-dir", str(work_dir), "--cfg-options", *options,
            f"train_dataloader.batch_size={32 // processes}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    scalars = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    rows = [json.loads(line) for line in scalars]
    return [row["loss"] for row in rows if "loss" in row], dict(read_journal(work_dir)[-1].metrics)


@pytest.mark.parametrize("norm", ["SyncBN", "GN"])
@pytest.mark.parametrize("processes", [2, 4])
def test_losses_are_those_of_one_process(
    norm: str, processes: int, config: Path, tmp_path: Path
) -> None:
    options = [f"model.network.norm={norm}", "train_cfg.max_epochs=2", "param_scheduler.0.T_max=2"]
    if norm == "GN":  # which has 32 groups
        options += ["model.network.base_channels=32", "model.network.base_width=8"]
    alone, metrics = losses(config, tmp_path / "1", 1, *options)
    together, others = losses(config, tmp_path / "n", processes, *options)
    assert len(alone) == 6
    assert together == pytest.approx(alone, rel=1e-5)
    assert others == pytest.approx(metrics, abs=1e-9)
