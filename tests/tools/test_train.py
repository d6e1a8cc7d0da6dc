"""Training, by running the tool."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from loopback import served
from tooling import FEW_BOXES, QUICK, ROOT, TOOLS, losses, run, train_shapes

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import mmdet
from mmengine.config import Config

from resnext_backbones import Architecture, ResNeXt, build_backbone
from resnext_backbones.cli import REPORTED
from resnext_backbones.engine.config import for_training
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config, use_weights
from resnext_backbones.tasks.mmdetection.run import TASK
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.preprocessing import BGR
from resnext_backbones.weights.registry import REGISTRY

train, evaluate = TASK.train, TASK.evaluate


def test_training_reports_what_it_starts_from(trained: tuple[Path, str]) -> None:
    log = trained[1]
    before = log[: log.index("Epoch(train)")]
    for line in (
        r"backbone: a 8x4d network of 1-1-1-1 blocks",
        r"parameters: backbone [\d,]+ trained, 0 frozen; all [\d,]+ trained, 0 frozen",
        r"frozen: none",
        r"norms: stage 4: BatchNorm2d \(statistics of the batch, affine trained\)",
        r"pixels: RGB, mean \(123.675, 116.28, 103.53\), std \(58.395, 57.12, 57.375\)",
        r"WARNING - weights: random: --weights none: as the config has it; all of the backbone",
        r"LR is set based on batch size of \d+ and the current batch size is \d+",
    ):
        assert re.search(line, before), line
    assert "WARNING - learning rate" not in before
    (file,) = trained[0].glob("*/*.log")
    assert "weights: random: --weights none: as the config has it" in file.read_text()
    assert re.search(r"Epoch\(train\).*eta: \d+:\d\d:\d\d", log)


def test_training_leaves_curves_scalars_and_checkpoints(trained: tuple[Path, str]) -> None:
    work_dir, log = trained
    assert len(losses(log)) == 8
    assert (work_dir / "curves.png").stat().st_size > 10_000
    assert list(work_dir.glob("*/vis_data/events.out.tfevents.*"))
    assert {path.name for path in work_dir.glob("*.pth")} >= {"epoch_2.pth"}
    assert f"done: {work_dir}\n" in log


def test_weights_are_taken_and_named(trained, shapes_root: Path, tmp_path: Path) -> None:
    checkpoint = trained[0] / "epoch_2.pth"
    done = train_shapes(
        tmp_path / "run", shapes_root, "--weights", checkpoint,
        options=[
            *QUICK, "train_cfg.max_epochs=1", "model.backbone.frozen_stages=2",
            "auto_scale_lr.enable=False", "auto_scale_lr.base_batch_size=16",
        ],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(rf"weights: {checkpoint} \(a 8x4d network .* other tensors", done.stdout)
    assert "frozen: stem, stage 1, stage 2" in done.stdout
    assert re.search(r"WARNING - learning rate: .* is for 16 images .* there are 4;", done.stdout)
    first = torch.load(checkpoint, weights_only=False)["state_dict"]
    second = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    moved = {k for k in first if k.startswith("backbone") and not first[k].equal(second[k])}
    assert moved
    assert not any(re.match(r"backbone\.(conv1|bn1|layer[12])", key) for key in moved)


@pytest.mark.whole
def test_a_detector_with_another_head_begins_from_one(trained, shapes_root, tmp_path: Path) -> None:
    checkpoint = trained[0] / "epoch_2.pth"
    done = train_shapes(
        tmp_path / "run", shapes_root,
        options=[
            *QUICK, "train_cfg.max_epochs=1", f"load_from={checkpoint}",
            "model.roi_head.bbox_head.fc_out_channels=64", "model.backbone.frozen_stages=4",
        ],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.search(rf"INFO - weights: {checkpoint} \((\d+) of (\d+) tensors\)\n", done.stdout)
    assert said
    left = re.search(r"WARNING - weights: not all of it: of another shape: (.*)\n", done.stdout)
    assert left
    assert left[1].count(" for (") == int(said[2]) - int(said[1]) == 6
    first = torch.load(checkpoint, weights_only=False)["state_dict"]
    second = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    assert all(v.equal(second[k]) for k, v in first.items() if re.match(r"backbone.*weight", k))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trunk's weights, named by their hash as published ones are."""
    folder = tmp_path_factory.mktemp("www")
    state = ResNeXt(Architecture(blocks=(1, 1, 1, 1), cardinality=8)).state_dict()
    torch.save(state, folder / "weights.pth")
    name = f"resnext101-{hash_of(folder / 'weights.pth')[:8]}.pth"
    return (folder / "weights.pth").rename(folder / name)


def on_coco(work_dir: Path) -> list[object]:
    """Arguments for one short epoch of a config for COCO, with a small backbone."""
    small = [f"{split}_dataloader.dataset.pipeline" for split in ("train", "val")]
    return [
        "--work-dir", work_dir, "--cfg-options", *FEW_BOXES,
        *(f"{pipeline}.{i}.scale=(128,128)" for pipeline, i in zip(small, (2, 1), strict=True)),
        *(f"{split}_dataloader.dataset.indices=2" for split in ("train", "val")),
        *(f"{split}_dataloader.num_workers=0" for split in ("train", "val")),
        *(f"{split}_dataloader.persistent_workers=False" for split in ("train", "val")),
        "train_cfg.max_epochs=1", "default_hooks.logger.interval=1", "randomness.seed=0",
        "model.backbone.variant=None", "model.backbone.depth=(1,1,1,1)", "model.backbone.groups=8",
    ]  # fmt: skip


def test_the_command_downloads_the_weights_of_its_config(
    published: Path, coco_tiny: Path, tmp_path: Path
) -> None:
    """The tool as it is, but for the address and the hash in the registry."""
    with served(published.parent) as address:
        code = (
            "import dataclasses, runpy, sys\n"
            "from resnext_backbones.weights.registry import REGISTRY\n"
            "row = REGISTRY['open-mmlab/resnext101_32x4d']\n"
            f"addresses = ({address + '/{file}'!r},)\n"
            "there = dataclasses.replace(row.source, addresses=addresses)\n"
            f"row = dataclasses.replace(row, source=there, file={published.name!r})\n"
            "REGISTRY[row.alias] = row\n"
            f"sys.argv[0] = {str(TOOLS / 'train.py')!r}\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        (tmp_path / "tool.py").write_text(code)
        done = run(
            str(tmp_path / "tool.py"), ROOT / "configs" / "mask_rcnn_x101_32x4d_fpn_coco.py",
            *on_coco(tmp_path / "run"), coco_root=coco_tiny, TORCH_HOME=str(tmp_path),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    downloaded = tmp_path / "hub" / "checkpoints" / published.name
    assert downloaded.read_bytes() == published.read_bytes()
    assert re.search(r"weights: open-mmlab/resnext101_32x4d \(a 8x4d network", done.stdout)
    assert "frozen: stem, stage 1\n" in done.stdout
    assert len(losses(done.stdout)) == 1


def test_mmdetections_own_tool_takes_the_same_config(
    published: Path, coco_tiny: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    row = REGISTRY["open-mmlab/detectron2/resnext101_32x8d"]
    shutil.copy(published, cache / row.file)
    tool = Path(mmdet.__file__).parent / ".mim" / "tools" / "train.py"
    done = run(
        [sys.executable, str(tool)], ROOT / "configs" / "mask_rcnn_x101_32x8d_fpn_coco.py",
        *on_coco(tmp_path / "run"), coco_root=coco_tiny, TORCH_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(done.stdout)) == 1
    used = Config.fromfile(tmp_path / "run" / "mask_rcnn_x101_32x8d_fpn_coco.py").model
    given = used.data_preprocessor
    assert (given.mean, given.std) == (list(BGR.mean), list(BGR.std))
    assert given.bgr_to_rgb is False
    trained = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    for key, value in torch.load(published).items():  # one step of warm-up moves next to nothing
        torch.testing.assert_close(trained[f"backbone.{key}"], value, rtol=0, atol=1e-3)


def copied(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "data"))


def truncated_image(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    root = copied(root, tmp_path)
    for path in (root / "train2017").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:1500])
    return root, []


def other_weights(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    torch.save(build_backbone("resnet50").state_dict(), tmp_path / "weights.pth")
    return root, ["--weights", tmp_path / "weights.pth"]


def other_checkpoint(root: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    weights = other_weights(root, tmp_path)[1][1]
    return root, ["--resume", weights]


GROUP_NORM = ["model.backbone.norm_cfg.type=GN", "model.backbone.norm_cfg.num_groups=32"]
BAD_INPUT = {
    "data root": (lambda _, tmp: (tmp / "absent", []), [], "data root .*absent.*COCO_ROOT"),
    "image": (truncated_image, [], r"image .*train2017/\d+.jpg: cannot be read: it is truncated"),
    "weights": (other_weights, [], r"the file holds resnet50; the network is a 8x4d"),
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
    "learning rate": (
        lambda root, _: (root, []),
        ["optim_wrapper.optimizer.lr=1e30"],
        r"loss of step \d is .*\(loss_.*lower the learning rate",
    ),
    "device": (lambda root, _: (root, ["--device", "cuda:99"]), [], r"--device cuda:99"),
}


SEEN_BY_THE_TOOL = ("data root", "image", "device")
"""What is read in the tool itself, or in a worker; the others need no process of their own."""


@pytest.mark.parametrize("what", SEEN_BY_THE_TOOL)
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


@pytest.mark.parametrize("what", sorted(BAD_INPUT.keys() - set(SEEN_BY_THE_TOOL)))
def test_bad_input_is_named(what: str, shapes_root: Path, tmp_path: Path, monkeypatch) -> None:
    breaks, options, message = BAD_INPUT[what]
    root, arguments = breaks(shapes_root, tmp_path)
    monkeypatch.setenv("COCO_ROOT", str(root))
    cfg = load_config("demo_shapes", [*QUICK, *options], work_dir=str(tmp_path / "run"))
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if "--weights" in given:
        use_weights(cfg, str(given["--weights"]))
    for_training(cfg, resume=given.get("--resume") and str(given["--resume"]))
    with pytest.raises(REPORTED, match=message):
        train(cfg)
    assert not list((tmp_path / "run").glob("*.pth"))


def test_an_earlier_run_is_not_overwritten(trained, shapes_root: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained[0], tmp_path / "run"))

    def snapshot() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.rglob("*")}

    before = snapshot()
    done = train_shapes(run, shapes_root)
    assert done.returncode == 2
    assert "holds the checkpoints of an earlier run; go on with --resume" in done.stderr
    assert snapshot() == before
    wrong = train_shapes(run, shapes_root, "--resume", options=[*QUICK, "model.backbone.groups=4"])
    assert wrong.returncode == 2
    assert "the file holds a 8x4d network" in wrong.stderr
    assert snapshot() == before


def test_a_run_goes_on_and_is_evaluated_as_it_began(
    trained, shapes_root, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("COCO_ROOT", str(shapes_root))
    work_dir = str(shutil.copytree(trained[0], tmp_path / "run"))
    cfg = load_config("demo_shapes", [*QUICK, "model.backbone.frozen_stages=1"], work_dir=work_dir)
    for_training(cfg, resume="auto")
    with pytest.raises(InputError, match=r"had frozen_stages -1, and the config has 1;.*--allow-m"):
        train(cfg)
    other = ["model.data_preprocessor.bgr_to_rgb=False"]
    cfg = load_config("demo_shapes", [*QUICK, *other], work_dir=work_dir)
    with pytest.raises(InputError, match=r"its run had pixels RGB, .* and the config has BGR"):
        evaluate(cfg, str(trained[0] / "epoch_2.pth"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_a_gpu(shapes_root: Path, tmp_path: Path) -> None:
    done = train_shapes(tmp_path / "run", shapes_root, "--amp")
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = torch.load(tmp_path / "run" / "epoch_2.pth", weights_only=False)
    assert "loss_scaler" in checkpoint["optimizer"]
    assert len(losses(done.stdout)) == 8


def test_compiled_operators_that_are_not_there_are_named(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules['mmcv._ext'] = None; "
        f"sys.argv = ['train.py', 'demo_shapes', '--work-dir', {str(tmp_path / 'run')!r}]; "
        f"runpy.run_path({str(TOOLS / 'train.py')!r}, run_name='__main__')"
    )
    done = run([sys.executable, "-c", code], RESNEXT_MMCV_OPS="compiled")
    assert done.returncode == 2
    wanted = r"error: RESNEXT_MMCV_OPS=compiled, but mmcv has none compiled; compile them: "
    assert re.search(wanted, done.stderr)
