"""Training torchvision's networks, by running the tool where nothing else is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tooling import TOOLS, run

from resnext_backbones.engine.journal import read_journal
from resnext_backbones.weights.files import read_file

BLOCKED = ("mmengine", "mmcv", "mmdet", "detectron2", "timm", "cv2", "matplotlib", "tensorboard")


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """The tool, with no framework to import and a small network beside the variants."""
    script = tmp_path / "tool.py"
    script.write_text(
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({BLOCKED}))\n"
        "from resnext_backbones.models.architecture import Architecture\n"
        "from resnext_backbones.variants import VARIANTS\n"
        "VARIANTS['tiny_4x4d'] = Architecture(blocks=(1, 1, 1, 1), cardinality=4)\n"
        f"runpy.run_path({str(TOOLS / 'train_torchvision.py')!r}, run_name='__main__')\n"
    )
    return script


def options(work_dir: Path, coco_root: Path, model: str, *more: object) -> list[str]:
    quick = [
        "--backbone", "tiny_4x4d", "--coco-root", coco_root, "--work-dir", work_dir,
        "--min-size", 64, "--max-size", 80, "--limit-images", 4, "--workers", 0,
        "--log-every", 1, "--device", "cpu",
    ]  # fmt: skip
    return [str(option) for option in ["--model", model, *quick, *more]]


def test_a_detector_is_trained_killed_and_resumed(
    tool: Path, coco_tiny: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "run"
    more = ["--epochs", 2, "--eval-every", 9, "--weights", "none"]
    arguments = options(work_dir, coco_tiny, "faster_rcnn", *more)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, tool, *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while not read_journal(work_dir):
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (work_dir / "epoch_2.pth").exists()
    start = "weights: random: --weights none: trainable layers 3 -> 5, norm FrozenBN -> BN\n"
    assert start in (work_dir / "log.txt").read_text()
    again = run([sys.executable, str(tool)], *arguments)
    assert again.returncode == 2
    assert [line for line in again.stderr.splitlines() if "rror" in line] == [
        f"error: --work-dir {work_dir}: holds the checkpoints of an earlier run; go on with "
        "--resume, or name another folder"
    ]
    resumed = run([sys.executable, str(tool)], *arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    for line in (
        "backbone: tiny_4x4d",
        "weights: resumed from",
        "learning rate: 0.02 for 16 images a step, 0.0025 for 2",
        "epoch 2/2 step 2/2",
        "COCO",
        f"done: {work_dir}",
    ):
        assert line in resumed.stdout, line
    assert "epoch 1/2" not in resumed.stdout
    metrics = json.loads((work_dir / "coco_metrics.json").read_text())
    assert metrics.keys() >= {"coco/bbox_mAP", "coco/bbox_mAP_50"}


def test_two_processes_train_as_one(tool: Path, coco_tiny: Path, tmp_path: Path) -> None:
    """Seven images are evaluated by two processes: each is counted once, by the same network."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    more = ["--epochs", 1, "--limit-images", 7]
    done = run(
        [*torchrun, "--nproc_per_node", "2", str(tool)],
        *options(tmp_path / "run", coco_tiny, "fcn", *more),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "0.02 for 32 images a step, 0.0025 for 4" in done.stdout
    assert done.stdout.count("epoch 1/1 step 1/1") == 1, "one of the processes logs"
    assert done.stdout.count("done:") == 1
    metrics = json.loads((tmp_path / "run" / "segmentation_metrics.json").read_text())
    one = run(
        [sys.executable, str(tool)],
        *options(tmp_path / "test", coco_tiny, "fcn", *more, "--eval-only"),
        tmp_path / "run" / "epoch_1.pth",
    )
    assert one.returncode == 0, one.stderr[-3000:]
    alone = json.loads((tmp_path / "test" / "segmentation_metrics.json").read_text())
    assert alone["pixels"] == metrics["pixels"]
    assert alone["IoU"] == pytest.approx(metrics["IoU"], abs=1e-4)
    state = read_file(tmp_path / "run" / "epoch_1.pth")["model"]
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_a_gpu(tool: Path, coco_tiny: Path, tmp_path: Path) -> None:
    arguments = options(tmp_path / "run", coco_tiny, "mask_rcnn", "--epochs", 1, "--amp", "fp16")
    done = run([sys.executable, str(tool)], *arguments, "--device", "cuda")
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_file(tmp_path / "run" / "epoch_1.pth")["scaler"]
