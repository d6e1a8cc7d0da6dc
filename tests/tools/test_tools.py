"""The tools, by running them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet", reason="MMDetection is not installed")

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
QUICK = [
    "train_cfg.max_epochs=2",
    "default_hooks.logger.interval=1",
    "default_hooks.checkpoint.interval=1",
    "train_cfg.val_interval=2",
    "model.backbone.depth=(1,1,1,1)",
    "model.backbone.groups=8",
    "model.backbone.variant=None",
]
"""Two epochs of a network with one block a stage."""


def run(
    tool: str | list[str], *arguments: object, coco_root: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end, away from the checkout."""
    head = [sys.executable, str(TOOLS / tool)] if isinstance(tool, str) else tool
    root = {"COCO_ROOT": str(coco_root)} if coco_root else {}
    return subprocess.run(
        [*head, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **root, **env},
        timeout=600,
        check=False,
    )


def train_shapes(work_dir: Path, root: Path, *arguments: object, options: list[str] = QUICK):
    return run(
        "train.py", "demo_shapes", "--work-dir", work_dir, *arguments,
        "--cfg-options", *options, coco_root=root,
    )  # fmt: skip


def losses(log: str) -> list[float]:
    """The total loss of every logged step."""
    return [float(value) for value in re.findall(r"Epoch\(train\).* loss: ([\d.]+)", log)]


@pytest.fixture(scope="module")
def trained(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A work directory of a finished run, and what the run printed."""
    work_dir = tmp_path_factory.mktemp("trained") / "run"
    done = train_shapes(work_dir, shapes_root)
    assert done.returncode == 0, done.stderr
    return work_dir, done.stdout + done.stderr


def test_training_reports_what_it_starts_from(trained: tuple[Path, str]) -> None:
    log = trained[1]
    before = log[: log.index("Epoch(train)")]
    for line in (
        r"backbone: a 8x4d network of 1-1-1-1 blocks",
        r"parameters: backbone [\d,]+ trained, 0 frozen; detector [\d,]+ trained, 0 frozen",
        r"frozen: none",
        r"norms: stage 4: BatchNorm2d \(statistics of the batch, affine trained\)",
        r"pixels: RGB, mean \(123.675, 116.28, 103.53\), std \(58.395, 57.12, 57.375\)",
        r"WARNING - weights: random: none given",
        r"LR is set based on batch size of \d+ and the current batch size is \d+",
    ):
        assert re.search(line, before), line
    assert re.search(r"Epoch\(train\).*eta: \d+:\d\d:\d\d", log)


def test_training_leaves_curves_scalars_and_checkpoints(trained: tuple[Path, str]) -> None:
    work_dir, log = trained
    assert len(losses(log)) == 8
    assert (work_dir / "curves.png").stat().st_size > 10_000
    assert list(work_dir.glob("*/vis_data/events.out.tfevents.*"))
    assert {path.name for path in work_dir.glob("*.pth")} >= {"epoch_2.pth"}
    assert f"done: {work_dir}\n" in log


def test_test_prints_writes_and_draws(trained, shapes_root: Path, tmp_path: Path) -> None:
    done = run(
        "test.py", "demo_shapes", trained[0] / "epoch_2.pth", "--work-dir", tmp_path / "run",
        "--out", tmp_path / "metrics.json", "--show-dir", tmp_path / "pictures",
        "--cfg-options", *QUICK, coco_root=shapes_root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"coco/bbox_mAP_50", "coco/segm_mAP_50"} <= metrics.keys()
    table = (tmp_path / "metrics.txt").read_text()
    assert table in done.stdout
    assert re.search(r"AP50.*\n.*\n.*box +│ .*\n.*mask", table)
    assert len(list((tmp_path / "pictures").glob("*.jpg"))) == 8


def test_weights_are_taken_and_named(trained, shapes_root: Path, tmp_path: Path) -> None:
    checkpoint = trained[0] / "epoch_2.pth"
    done = train_shapes(
        tmp_path / "run", shapes_root, "--weights", checkpoint,
        options=[*QUICK, "train_cfg.max_epochs=1", "model.backbone.frozen_stages=2"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(rf"weights: {checkpoint} \(a 8x4d network .* other tensors", done.stdout)
    assert "frozen: stem, stage 1, stage 2" in done.stdout
    first = torch.load(checkpoint, weights_only=False)["state_dict"]
    second = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    moved = {k for k in first if k.startswith("backbone") and not first[k].equal(second[k])}
    assert moved
    assert not any(re.match(r"backbone\.(conv1|bn1|layer[12])", key) for key in moved)


def copied(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "data"))


def truncated_image(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    root = copied(root, tmp_path)
    for path in (root / "train2017").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:1500])
    return root, []


def other_weights(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    from resnext_backbones import build_backbone

    torch.save(build_backbone("resnet50").state_dict(), tmp_path / "weights.pth")
    return root, ["--weights", tmp_path / "weights.pth"]


def other_checkpoint(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    weights = other_weights(root, tmp_path)[1][1]
    return root, ["--resume", weights]


GROUP_NORM = ["model.backbone.norm_cfg.type=GN", "model.backbone.norm_cfg.num_groups=32"]
BAD_INPUT = {
    "data root": (lambda _, tmp: (tmp / "absent", []), [], "data root .*absent.*COCO_ROOT"),
    "image": (truncated_image, [], r"image .*train2017/\d+.jpg: corrupt or truncated"),
    "weights": (other_weights, [], r"this file is resnet50; the network is a 8x4d"),
    "resume": (other_checkpoint, [], r"checkpoint .*weights.pth: has no meta, message_hub"),
    "groups": (lambda root, _: (root, []), ["model.backbone.groups=0"], r"cardinality .* got 0"),
    "width": (
        lambda root, _: (root, []),
        ["model.backbone.groups=3", *GROUP_NORM],
        r"norm cannot be built for a layer of 12 channels",
    ),
    "out_indices": (
        lambda root, _: (root, []),
        ["model.backbone.out_indices=(0,1,2,4)"],
        r"out_indices must be .* from 0 to 3, got \(0, 1, 2, 4\)",
    ),
    "device": (lambda root, _: (root, ["--device", "cuda:99"]), [], r"--device cuda:99"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_ends_with_one_message(what: str, shapes_root: Path, tmp_path: Path) -> None:
    breaks, options, message = BAD_INPUT[what]
    root, arguments = breaks(shapes_root, tmp_path)
    work_dir = tmp_path / "run"
    work_dir.mkdir()
    (work_dir / "notes.txt").write_text("mine")
    done = train_shapes(work_dir, root, *arguments, options=[*QUICK, *options])
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert re.search(f"error: .*{message}", done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert (work_dir / "notes.txt").read_text() == "mine"
    assert not list(work_dir.glob("*.pth"))


def test_an_earlier_run_is_not_overwritten(trained, shapes_root: Path) -> None:
    def snapshot() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in trained[0].rglob("*")}

    before = snapshot()
    done = train_shapes(trained[0], shapes_root)
    assert done.returncode == 2
    assert "holds the checkpoints of an earlier run; go on with --resume" in done.stderr
    assert snapshot() == before
    wrong = train_shapes(
        trained[0], shapes_root, "--resume", options=[*QUICK, "model.backbone.groups=4"]
    )
    assert wrong.returncode == 2
    assert "its backbone is a 8x4d network" in wrong.stderr
    assert snapshot() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_a_gpu(shapes_root: Path, tmp_path: Path) -> None:
    done = train_shapes(tmp_path / "run", shapes_root, "--amp")
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = torch.load(tmp_path / "run" / "epoch_2.pth", weights_only=False)
    assert "loss_scaler" in checkpoint["optimizer"]
    assert len(losses(done.stdout)) == 8


def test_two_processes_train_on_real_images(coco_tiny: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = [
        *QUICK,
        "train_dataloader.dataset.indices=16",
        "val_dataloader.dataset.indices=4",
        "test_dataloader.dataset.indices=4",
        "model.backbone.frozen_stages=1",
        "model.backbone.norm_eval=True",
    ]
    done = run(
        torchrun, "--nproc_per_node", 2, TOOLS / "train.py", "demo_coco", "--allow-mismatch",
        "--work-dir", tmp_path / "run", "--cfg-options", *options,
        coco_root=coco_tiny, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    log = done.stdout + done.stderr
    assert "current batch size is 8. Scaling the original LR by 2.0" in log
    assert "frozen: stem, stage 1" in log
    assert len(losses(log)) == 4, "16 images, 8 a step, two epochs; one of the processes logs"
    assert (tmp_path / "run" / "epoch_2.pth").is_file()

    both = [
        torchrun, "--nproc_per_node", 2, TOOLS / "train.py", "demo_coco",
        "--work-dir", tmp_path / "run", "--resume", "--cfg-options", *options,
        "train_cfg.max_epochs=3",
    ]  # fmt: skip
    resumed = run(*both, coco_root=coco_tiny, OMP_NUM_THREADS="1")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resumed from the newest checkpoint at iteration 4" in resumed.stdout
    tested = run(
        torchrun, "--nproc_per_node", 2, TOOLS / "test.py", "demo_coco",
        tmp_path / "run" / "epoch_3.pth", "--work-dir", tmp_path / "test",
        "--cfg-options", *options, coco_root=coco_tiny, OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert tested.stdout.count("COCO") >= 1
    assert (tmp_path / "test" / "coco_metrics.json").is_file()


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


@pytest.mark.parametrize(("template", "nodes"), [("one_node", 1), ("two_nodes", 2)])
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


def test_demo_at_a_tiny_size(tmp_path: Path) -> None:
    done = run(
        "demo.py", "--work-dir", tmp_path / "demo", "--num-train", 16, "--num-val", 4,
        "--cfg-options", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.rstrip().splitlines()[-1])
    assert folder == tmp_path / "demo"
    assert {"coco_metrics.json", "coco_metrics.txt", "curves.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert len(list((folder / "pictures").iterdir())) == 4


def test_demo_on_real_images(coco_tiny: Path, tmp_path: Path) -> None:
    done = run(
        "demo.py", "--work-dir", tmp_path / "demo", "--coco-root", coco_tiny,
        "--num-train", 16, "--num-val", 4, "--cfg-options", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "demo" / "pictures").iterdir())) == 4
    again = run("demo.py", "--work-dir", tmp_path / "demo", "--coco-root", coco_tiny)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_the_x101_config_trains_is_killed_resumes_and_is_evaluated(
    coco_tiny: Path, tmp_path: Path
) -> None:
    config = ROOT / "configs" / "mask_rcnn_x101_32x4d_fpn_coco.py"
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
        "test.py", ROOT / "configs" / "mask_rcnn_x50_32x4d_fpn_coco.py", checkpoint,
        "--work-dir", tmp_path / "wrong", *options, coco_root=coco_tiny,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "is resnext101_32x4d and the config's is resnext50_32x4d" in wrong.stderr


def test_mmcv_without_operators_says_what_to_run(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules['mmcv._ext'] = None; "
        f"sys.argv = ['train.py', 'demo_shapes', '--work-dir', {str(tmp_path / 'run')!r}]; "
        f"runpy.run_path({str(TOOLS / 'train.py')!r}, run_name='__main__')"
    )
    done = run([sys.executable, "-c", code])
    assert done.returncode == 2
    assert re.search(r"error: mmcv has no compiled operators for torch .*make setup", done.stderr)


def test_losses_are_those_of_mmdetections_backbone(coco_tiny: Path, tmp_path: Path) -> None:
    done = run(
        "compare_training.py", "mask_rcnn_x50_32x4d_fpn_coco", "--steps", 3,
        "--out", tmp_path / "result.json", "--unfolded",
        "--cfg-options", "train_dataloader.dataset.pipeline.2.scale=(256,160)",
        coco_root=coco_tiny,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["steps"] == 3
    assert result["largest_loss_difference"] <= 1e-3
    assert all(len(run["time"]) == 3 for run in result["runs"].values())


def test_a_metric_that_coco_does_not_have_is_a_dash() -> None:
    from resnext_backbones.detection.run import coco_table

    table = coco_table({"coco/bbox_mAP": 0.567, "coco/bbox_mAP_l": -1.0})
    row = next(line for line in table.splitlines() if "box" in line)
    assert re.findall(r"[\w.-]+", row) == ["box", "56.7", "-", "-", "-", "-", "-"]
