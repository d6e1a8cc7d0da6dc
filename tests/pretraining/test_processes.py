"""Several processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.runs.environment import UNSHARED_STORE
from resnext_backbones.runs.journal import read_journal

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


DIES_ONCE = """
import os, runpy, signal, sys
from resnext_backbones.runs import loop
step = loop.EpochBasedTrainLoop.run_iter
def run_iter(self, *arguments):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and os.environ["RANK"] == "1" and self._iter == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *arguments)
loop.EpochBasedTrainLoop.run_iter = run_iter
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], None, "__main__")
"""


def test_a_killed_worker_is_restarted_by_torchrun(config: Path, tmp_path: Path) -> None:
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [
            sys.executable, *torchrun, "--max-restarts", "1",
            str(tmp_path / "dies_once.py"), str(TOOL), str(config),
            "--work-dir", str(tmp_path / "run"), "--resume",
            "--cfg-options", "train_dataloader.batch_size=16",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", UNSHARED_STORE: "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    # Killed in the eighth of 12 steps; the checkpoint before it is that of the sixth.
    logs = [path.read_text() for path in sorted((tmp_path / "run").glob("*/*.log"))]
    assert "resumed epoch: 2, iter: 6" in logs[-1]
    assert [entry.iter for entry in read_journal(tmp_path / "run")] == [6, 9, 12]


OPTIONS = {
    "SyncBN": ["model.network.norm=SyncBN"],
    # Which has 32 groups.
    "GN": ["model.network.norm=GN", "model.network.base_channels=32", "model.network.base_width=8"],
}
SHORT = ["train_cfg.max_epochs=2", "param_scheduler.0.T_max=2"]


@pytest.fixture(scope="module", params=OPTIONS)
def alone(
    request: pytest.FixtureRequest, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[float], dict[str, float]]:
    """A norm, and what one process trains with it."""
    options = [*OPTIONS[request.param], *SHORT]
    return request.param, *losses(config, tmp_path_factory.mktemp("alone"), 1, *options)


@pytest.mark.parametrize("processes", [2, 4])
def test_losses_are_those_of_one_process(
    alone: tuple[str, list[float], dict[str, float]], processes: int, config: Path, tmp_path: Path
) -> None:
    norm, expected, metrics = alone
    found, others = losses(config, tmp_path, processes, *OPTIONS[norm], *SHORT)
    assert len(expected) == 6
    assert found == pytest.approx(expected, rel=1e-5)
    assert others == pytest.approx(metrics, abs=1e-9)
