"""Training in several processes, under Slurm, and again after it was killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tooling import FEW_BOXES, QUICK, ROOT, TOOLS, losses, run, train_shapes

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from resnext_backbones.engine.checkpoints import TERMINATED
from resnext_backbones.weights.files import read_file


@pytest.mark.whole
def test_two_processes_train_on_real_images(coco_tiny: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = [
        *QUICK,
        "train_dataloader.dataset.indices=16",
        "val_dataloader.dataset.indices=4",
        "test_dataloader.dataset.indices=4",
        "model.backbone.frozen_stages=1",
        "model.backbone.norm_cfg.type=SyncBN",
        "train_cfg.max_epochs=1",
        "train_cfg.val_interval=1",
    ]
    done = run(
        torchrun, "--nproc_per_node", 2, "-m", "resnext_backbones", "train", "demo_coco",
        "--allow-mismatch", "--work-dir", tmp_path / "run", "--cfg-options", *options,
        coco_root=coco_tiny, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    log = done.stdout + done.stderr
    assert "current batch size is 8. Scaling the original LR by 2.0" in log
    assert "frozen: stem, stage 1" in log
    assert "norms: stage 4: SyncBatchNorm (statistics of the batch, affine trained)" in log
    assert len(losses(log)) == 2, "16 images, 8 a step; one of the processes logs"
    assert (tmp_path / "run" / "epoch_1.pth").is_file()

    both = [
        torchrun, "--nproc_per_node", 2, TOOLS / "train.py", "demo_coco",
        "--work-dir", tmp_path / "run", "--resume", "--cfg-options", *options,
        "train_cfg.max_epochs=2",
    ]  # fmt: skip
    resumed = run(*both, coco_root=coco_tiny, OMP_NUM_THREADS="1")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert re.search(r"resumed from \S*epoch_1.pth at iteration 2", resumed.stdout)
    tested = run(
        torchrun, "--nproc_per_node", 2, TOOLS / "test.py", "demo_coco",
        tmp_path / "run" / "epoch_2.pth", "--work-dir", tmp_path / "test",
        "--cfg-options", *options, coco_root=coco_tiny, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert tested.stdout.count("COCO") >= 1
    assert (tmp_path / "test" / "coco_metrics.json").is_file()


@pytest.mark.whole
def test_a_terminated_run_goes_on_to_the_same_weights(
    trained: tuple[Path, str], shapes_root: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "run"
    command = [sys.executable, TOOLS / "train.py", "demo_shapes", "--work-dir", work_dir]
    workers = ["train_dataloader.num_workers=1", "train_dataloader.persistent_workers=True"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, [*command, "--cfg-options", *QUICK, *workers])),
            stdout=log,
            stderr=log,
            env={**os.environ, "COCO_ROOT": str(shapes_root)},
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while "Epoch(train)" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGTERM)  # as Slurm and torchrun do
        assert process.wait() == TERMINATED, (tmp_path / "log").read_text()[-3000:]
    assert list(work_dir.glob("iter_*.pth"))
    resumed = train_shapes(work_dir, shapes_root, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    expected, found = (read_file(path / "epoch_2.pth") for path in (trained[0], work_dir))
    assert expected["meta"]["iter"] == found["meta"]["iter"]
    assert all(torch.equal(v, found["state_dict"][k]) for k, v in expected["state_dict"].items())


def slurm_on_this_machine(folder: Path) -> None:
    """`srun` and `scontrol` that take this machine for each of the job's nodes."""
    each = 'for i in $(seq "$SLURM_JOB_NUM_NODES"); do'
    scripts = {
        "scontrol": f"{each} echo 127.0.0.1; done",
        "srun": f'shift; {each} "$@" & jobs+=($!); done\n'
        'for job in "${jobs[@]}"; do wait "$job" || exit 1; done',
    }
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("template", "nodes"),
    [pytest.param("one_node", 1, marks=pytest.mark.whole), ("two_nodes", 2)],
)
def test_slurm_templates(template: str, nodes: int, shapes_root: Path, tmp_path: Path) -> None:
    slurm_on_this_machine(tmp_path / "bin")
    script = str(TOOLS / "slurm" / f"{template}.sbatch")
    done = run(
        ["bash", script], "demo_shapes",
        "--work-dir", tmp_path / "run", "--cfg-options", *QUICK, "train_cfg.max_epochs=1",
        coco_root=shapes_root,
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        PYTHON=sys.executable,
        SLURM_JOB_NUM_NODES=str(nodes),
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_JOB_ID="1",
        GPUS_PER_NODE="1",
        MASTER_PORT="29511",
        OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"current batch size is {4 * nodes}" in done.stdout + done.stderr
    assert (tmp_path / "run" / "epoch_1.pth").is_file()


@pytest.mark.whole
def test_a_coco_config_trains_is_killed_resumes_and_is_evaluated(
    coco_tiny: Path, tmp_path: Path
) -> None:
    config = ROOT / "configs" / "mask_rcnn_x50_32x4d_fpn_coco.py"
    work_dir = tmp_path / "run"
    options = [
        "--cfg-options",
        "train_dataloader.dataset.pipeline.2.scale=(256,160)",
        "test_dataloader.dataset.pipeline.1.scale=(256,160)",
        "val_dataloader.dataset.pipeline.1.scale=(256,160)",
        "train_dataloader.dataset.indices=8",
        "val_dataloader.dataset.indices=2",
        "test_dataloader.dataset.indices=4",
        "train_cfg.max_epochs=4",
        "train_cfg.val_interval=4",
        "param_scheduler.0.end=2",
        "default_hooks.logger.interval=1",
        "default_hooks.checkpoint.max_keep_ckpts=1",
        "randomness.seed=0",
        "model.backbone.init_cfg=None",
        *FEW_BOXES,
    ]
    command = [sys.executable, TOOLS / "train.py", config, "--work-dir", work_dir]
    command += ["--allow-mismatch", *options]  # frozen stages at random values
    env = {**os.environ, "COCO_ROOT": str(coco_tiny)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=env, start_new_session=True
        )
        deadline = time.monotonic() + 500
        newest = work_dir / "last_checkpoint"  # written when the checkpoint is whole
        while not (newest.exists() and "epoch_2" in newest.read_text()):
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    first = losses((tmp_path / "log").read_text())
    resumed = run(*map(str, command[1:]), "--resume", coco_root=coco_tiny)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert re.search(r"weights: resumed from .* at iteration 8", resumed.stdout)
    assert "Epoch(train) [3][1/4]" in resumed.stdout
    last = losses(resumed.stdout)
    assert sum(last[-4:]) < 0.8 * sum(first[:4])
    checkpoint = work_dir / "epoch_4.pth"
    tested = run(
        "test.py", config, checkpoint, "--work-dir", work_dir, *options, coco_root=coco_tiny
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert "COCO" in tested.stdout
    wrong = run(
        "test.py", ROOT / "configs" / "mask_rcnn_x101_32x4d_fpn_coco.py", checkpoint,
        "--work-dir", tmp_path / "wrong", *options, coco_root=coco_tiny,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "holds resnext50_32x4d; the network is resnext101_32x4d" in wrong.stderr
