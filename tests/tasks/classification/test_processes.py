"""Several processes train as one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.engine.processes import UNSHARED_STORE

TOOL = Path(__file__).parents[3] / "tools" / "pretrain_imagenet.py"


def run(
    processes: int, *command: object, torchrun: tuple[str, ...] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """A program in several processes on the CPU, or in one."""
    head = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(head if processes > 1 else []), *torchrun, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def losses(
    config: Path, work_dir: Path, processes: int, *options: str
) -> tuple[list[float], dict[str, float]]:
    """Of each step, and what the last weights were evaluated to."""
    run(
        processes, TOOL, config, "--work-dir", work_dir, "--device", "cpu", "--cfg-options",
        *options, f"train_dataloader.batch_size={32 // processes}",
    )  # fmt: skip
    scalars = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    rows = [json.loads(line) for line in scalars]
    return [row["loss"] for row in rows if "loss" in row], dict(read_journal(work_dir)[-1].metrics)


WATCHED = """
import os, runpy, signal, sys
import torch
from resnext_backbones.tasks.classification import evaluation
from resnext_backbones.engine import loop
step, evaluate = loop.EpochBasedTrainLoop.run_iter, evaluation.ValLoop._evaluate
def run_iter(self, *arguments):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if "DIES" in os.environ and first and os.environ["RANK"] == "1" and self._iter == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *arguments)
def evaluated(self):
    metrics = evaluate(self)
    network = self.runner.model.module.network
    path = f"{self.runner.work_dir}/evaluated_by_{os.environ['RANK']}.pt"
    torch.save({k: v.clone() for k, v in network.named_buffers()}, path)
    return metrics
loop.EpochBasedTrainLoop.run_iter, evaluation.ValLoop._evaluate = run_iter, evaluated
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], None, "__main__")
"""
"""One of two processes dies once; each writes down the statistics that it evaluates with."""


@pytest.mark.whole
def test_a_killed_worker_is_restarted_by_torchrun(
    config: Path, coloured: Path, tmp_path: Path
) -> None:
    """With plain batch norms, each of which sees the images of its process alone."""
    (tmp_path / "watched.py").write_text(WATCHED)
    root = shutil.copytree(coloured, tmp_path / "one_is_broken")
    (broken := root / "train" / "blue" / "3.jpg").write_bytes(b"no image")
    for name, env in (("undisturbed", {}), ("killed", {"DIES": "once", UNSHARED_STORE: "1"})):
        run(
            2, tmp_path / "watched.py", TOOL, config, "--work-dir", tmp_path / name, "--resume",
            "--device", "cpu", "--data-root", root,
            "--cfg-options", "train_dataloader.batch_size=16", "custom_hooks.2.limit=0.02",
            torchrun=("--max-restarts", "1"), **env,
        )  # fmt: skip
    # Killed in the eighth of 12 steps; the checkpoint before it is that of the sixth.
    logs = [path.read_text() for path in sorted((tmp_path / "killed").glob("*/*.log"))]
    assert "resumed epoch: 2, iter: 6" in logs[-1]
    assert [entry.iter for entry in read_journal(tmp_path / "killed")] == [6, 9, 12]
    ended = {
        name: torch.load(tmp_path / name / "epoch_4.pth", weights_only=False)["state_dict"]
        for name in ("undisturbed", "killed")
    }
    assert all(torch.equal(ended["killed"][k], v) for k, v in ended["undisturbed"].items())
    for name, state in ended.items():
        for rank in (0, 1):  # the averaged weights are evaluated last, and have the plain names
            seen = torch.load(tmp_path / name / f"evaluated_by_{rank}.pt")
            assert all(torch.equal(v, state[f"network.{k}"]) for k, v in seen.items())
        (log, *_) = sorted((tmp_path / name).glob("*/*.log"))
        assert log.read_text().count(f"image {broken}: cannot be read") == 1


OPTIONS = {
    "SyncBN": ["model.network.norm=SyncBN"],
    # Which has 32 groups.
    "GN": ["model.network.norm=GN", "model.network.base_channels=32", "model.network.base_width=8"],
}
SHORT = ["train_cfg.max_epochs=2"]


@pytest.fixture(scope="module", params=["SyncBN", pytest.param("GN", marks=pytest.mark.whole)])
def alone(
    request: pytest.FixtureRequest, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[float], dict[str, float]]:
    """A norm, and what one process trains with it."""
    options = [*OPTIONS[request.param], *SHORT]
    return request.param, *losses(config, tmp_path_factory.mktemp("alone"), 1, *options)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.whole)])
def test_losses_are_those_of_one_process(
    alone: tuple[str, list[float], dict[str, float]], processes: int, config: Path, tmp_path: Path
) -> None:
    norm, expected, metrics = alone
    found, others = losses(config, tmp_path, processes, *OPTIONS[norm], *SHORT)
    assert len(expected) == 6
    assert found == pytest.approx(expected, rel=1e-5)
    assert others == pytest.approx(metrics, abs=1e-9)
