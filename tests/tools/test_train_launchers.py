"""Training under launchers that are really there: each test is skipped where its own is not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tooling import QUICK, TOOLS, a_port, losses, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")

pytestmark = pytest.mark.whole

TRAIN = (sys.executable, "-m", "resnext_backbones", "train")

STARTED = {
    # As MMDetection's tools/dist_train.sh does, which hands --local-rank to the tool.
    "torch.distributed.launch": (
        sys.executable, "-m", "torch.distributed.launch", "--nnodes=1", "--node_rank=0",
        "--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port=PORT",
        TOOLS / "train.py", "demo_shapes", "--launcher", "pytorch",
    ),
    "mpirun.openmpi": (
        "mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-np", "2",
        *TRAIN, "demo_shapes",
    ),
    "mpirun.mpich": ("mpirun.mpich", "-n", "2", *TRAIN, "demo_shapes", "--launcher", "mpi"),
}  # fmt: skip
"""How two processes are started; with `--launcher`, or without it, which finds it."""


@pytest.mark.parametrize("launcher", STARTED)
def test_two_processes_train(launcher: str, shapes_root: Path, tmp_path: Path) -> None:
    command = STARTED[launcher]
    if not shutil.which(command[0]):
        pytest.skip(f"{launcher} is not installed")
    port = str(a_port())
    done = run(
        [str(word).replace("PORT", port) for word in command], "--work-dir", tmp_path / "run",
        "--cfg-options", *QUICK, "train_cfg.max_epochs=1", "train_cfg.val_interval=1",
        coco_root=shapes_root, OMP_NUM_THREADS="1",
        **({} if launcher == "mpirun.openmpi" else {"MASTER_PORT": port}),
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    assert "current batch size is 8" in log, "of both"
    assert len(losses(log)) == 2, "16 images, 8 a step; one of the processes logs"
    assert (tmp_path / "run" / "epoch_1.pth").is_file()
