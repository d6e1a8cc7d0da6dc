"""Training torchvision's networks by the tools, where MMDetection is not installed."""

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
from forked import ENGINE
from tooling import TOOLS, run

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.weights.files import read_file

BLOCKED = ("mmcv", "mmdet", "detectron2", "timm")
FASTER, MASK, FCN = (
    f"torchvision/{name}_coco"
    for name in ("faster_rcnn_x50_32x4d_fpn", "mask_rcnn_x50_32x4d_fpn", "fcn_x50_32x4d")
)
SIZES = {
    "rcnn": ["model.min_size=64", "model.max_size=80", "model.options.box_batch_size_per_image=8"],
    "fcn": [f"{split}_dataloader.dataset.size=64" for split in ("train", "val", "test")],
}


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A tool, with no other framework to import and a small network beside the variants."""
    script = tmp_path / "tool.py"
    script.write_text(
        "import runpy, sys\n"
        "import resnext_backbones.adapters.distributions\n"  # which are there, and stay whole
        f"sys.modules.update(dict.fromkeys({BLOCKED}))\n"
        "from resnext_backbones.models.architecture import Architecture\n"
        "from resnext_backbones.variants import VARIANTS\n"
        "VARIANTS['tiny_4x4d'] = Architecture(blocks=(1, 1, 1, 1), cardinality=4)\n"
        "del sys.argv[0]\n"
        f"runpy.run_path({str(TOOLS)!r} + '/' + sys.argv[0], run_name='__main__')\n"
    )
    return script


def options(work_dir: Path, *more: object, images: int = 4) -> list[str]:
    """What all calls share; `more` are settings."""
    splits = ("train", "val", "test")
    quick = [
        "model.backbone.variant=tiny_4x4d",
        *(f"{split}_dataloader.dataset.indices={images}" for split in splits),
        *(f"{split}_dataloader.num_workers=0" for split in splits),
        *(f"{split}_dataloader.persistent_workers=False" for split in splits),
        "train_dataloader.batch_size=2",
        "default_hooks.logger.interval=1",
        "randomness.seed=0",
    ]
    return [*map(str, ("--work-dir", work_dir, "--cfg-options", *quick, *more))]


def test_a_detector_is_trained_killed_and_resumed(
    tool: Path, coco_tiny: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "run"
    settings = [*SIZES["rcnn"], "train_cfg.max_epochs=2", "train_cfg.val_interval=9"]
    arguments = ["train.py", FASTER, "--weights", "none", "--device", "cpu"]
    arguments += options(work_dir, *settings)
    env = {**os.environ, "COCO_ROOT": str(coco_tiny)}
    with (tmp_path / "log").open("w") as file:
        process = subprocess.Popen(
            [sys.executable, tool, *arguments], stdout=file, stderr=file, env=env
        )
        deadline = time.monotonic() + 300
        while not read_journal(work_dir):
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (work_dir / "epoch_2.pth").exists()
    start = "random: --weights none: trainable_layers 3 -> 5, norm FrozenBN -> BN; all of the"
    assert start in (tmp_path / "log").read_text()
    shared = {"coco_root": coco_tiny, "modules": ENGINE}
    again = run(str(tool), *arguments, **shared)
    assert again.returncode == 2
    assert [line for line in again.stderr.splitlines() if "rror" in line] == [
        f"error: --work-dir {work_dir}: holds the checkpoints of an earlier run; go on with "
        "--resume, or name another folder"
    ]
    resumed = run(str(tool), *arguments, "--resume", **shared)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    for line in (
        "backbone: tiny_4x4d",
        "weights: resumed from",
        "LR is set based on batch size of 16 and the current batch size is 2",
        "Epoch(train) [2][2/2]",
        "coco/bbox_mAP_50",
        f"done: {work_dir}",
    ):
        assert line in resumed.stdout, line
    assert "Epoch(train) [1]" not in resumed.stdout
    checkpoint = work_dir / "epoch_2.pth"
    test = ["test.py", FASTER, "auto", *options(work_dir, *settings)]
    tested = run(str(tool), *test, **shared)
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert "COCO" in tested.stdout
    metrics = json.loads((work_dir / "coco_metrics.json").read_text())
    assert metrics["checkpoint"] == str(checkpoint)
    assert metrics.keys() >= {"coco/bbox_mAP", "coco/bbox_mAP_50"}


@pytest.mark.whole
def test_two_processes_train_as_one(tool: Path, coco_tiny: Path, tmp_path: Path) -> None:
    """Seven images are evaluated by two processes: each is counted once, by the same network."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    settings = [*SIZES["fcn"], "train_cfg.max_epochs=1"]
    shared = options(tmp_path / "run", *settings, images=7)
    done = run(
        [*torchrun, "--nproc_per_node", "2", str(tool)],
        *("train.py", FCN, "--weights", "none", "--device", "cpu"),
        *shared,
        coco_root=coco_tiny,
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "batch size of 32 and the current batch size is 4" in done.stdout
    assert done.stdout.count("Epoch(train) [1][1/1]") == 1, "one of the processes logs"
    assert "norms: stage 4: SyncBatchNorm (statistics of the batch, affine trained)" in done.stdout
    metrics = read_journal(tmp_path / "run")[-1].metrics
    checkpoint = tmp_path / "run" / "epoch_1.pth"
    one = run(
        str(tool),
        *("test.py", FCN, checkpoint, "--device", "cpu"),
        *options(tmp_path / "test", *settings, images=7),
        coco_root=coco_tiny,
        modules=ENGINE,
    )
    assert one.returncode == 0, one.stderr[-3000:]
    alone = json.loads((tmp_path / "test" / "segmentation_metrics.json").read_text())
    assert alone.pop("checkpoint") == str(checkpoint)
    assert alone["segmentation/pixels"] == metrics["segmentation/pixels"]
    assert metrics == pytest.approx(alone, abs=1e-4)
    state = read_file(checkpoint)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_a_gpu(tool: Path, coco_tiny: Path, tmp_path: Path) -> None:
    arguments = ["train.py", MASK, "--weights", "none", "--amp", "fp16", "--device", "cuda"]
    arguments += options(tmp_path / "run", *SIZES["rcnn"], "train_cfg.max_epochs=1")
    done = run([sys.executable, str(tool)], *arguments, coco_root=coco_tiny)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "loss_scaler" in read_file(tmp_path / "run" / "epoch_1.pth")["optimizer"]
