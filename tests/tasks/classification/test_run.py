"""Pretraining from the command line: that it learns, publishes, and loses nothing."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from pretraining_runs import TOOL, run, run_prepared, same, weights
from safetensors import safe_open

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones import Architecture, ResNeXtClassifier, load_weights, preprocessing_of
from resnext_backbones.engine.checkpoints import newest_checkpoint, read_journal
from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.publish import publish
from resnext_backbones.tasks.classification.run import pretrain, set_data_root
from resnext_backbones.weights.preprocessing import RGB

TINY = Architecture(blocks=(1, 1, 1), cardinality=4, base_width=4, base_channels=8, stem="3x3")


def test_it_learns_and_publishes(finished: Path, coloured: Path) -> None:
    journal = json.loads((finished / "checkpoints.json").read_text())
    assert [entry["file"] for entry in journal] == ["epoch_2.pth", "epoch_3.pth", "epoch_4.pth"]
    metrics = journal[-1]["metrics"]
    assert metrics["training/accuracy/top1"] >= 0.5  # by chance 0.125
    assert metrics["accuracy/top5"] >= metrics["accuracy/top1"]
    assert (finished / "curves.png").stat().st_size > 10_000
    log = next(finished.glob("*/*.log")).read_text()
    scalars = next(finished.glob("*/vis_data/scalars.json")).read_text().splitlines()
    (*_, last) = (row["lr"] for row in map(json.loads, scalars) if "lr" in row)
    assert last == pytest.approx(0.05 * (1 + math.cos(math.pi * 11 / 12)) / 2)  # down to nearly 0
    for line in ("learning rate: 0.05", "batch: 32: 32 in each of 1 processes", "classes: 8"):
        assert line in log
    assert re.search(r"images_per_second: \d\d+\.", log)
    assert re.search(r"memory: \d\d\d", log)
    (published,) = finished.glob("*.safetensors")
    with safe_open(published, "pt") as opened:
        metadata = opened.metadata()
    assert metadata["recipe"] == "tiny"
    assert metadata["data_set"].startswith("coloured")
    names = json.loads(metadata["class_names"])
    assert names == sorted(path.name for path in (coloured / "train").iterdir())
    assert metadata["epoch"] == metadata["epochs"] == "4"
    assert float(metadata["accuracy/top1"]) == pytest.approx(metrics["accuracy/top1"], abs=1e-4)
    assert preprocessing_of(published) == RGB
    card = ModelCard.load(published.with_suffix(".md"))
    assert published.name in card.text
    assert "| recipe | tiny |" in card.text
    assert names[0] not in card.text
    (result,) = card.data.eval_results
    assert result.metric_value == pytest.approx(100 * metrics["accuracy/top1"], abs=0.01)
    assert result.dataset_name == metadata["data_set"]
    model = ResNeXtClassifier(TINY, num_classes=8)
    load_weights(model, published)
    # The averaged weights are those that MMEngine puts under the plain names.
    state = torch.load(finished / "epoch_4.pth", weights_only=False)["state_dict"]
    assert all(torch.equal(v, state[f"network.{k}"]) for k, v in model.state_dict().items())


@pytest.mark.whole
def test_accuracy_on_cifar_rises_well_above_chance(cifar10: Path, tmp_path: Path) -> None:
    root = TOOL.parents[1] / "configs" / "cifar" / "cifar10_quick.py"
    options = [
        "model.network.blocks=(1,1,1)", "train_cfg.max_epochs=3", "train_dataloader.batch_size=25",
        "train_dataloader.num_workers=0", "val_dataloader.num_workers=0",
    ]  # fmt: skip
    done = run(root, tmp_path / "run", "--data-root", str(cifar10), "--cfg-options", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_journal(tmp_path / "run")[-1].metrics["accuracy/top1"] > 0.3  # by chance 0.1


@pytest.mark.whole
def test_the_number_of_workers_changes_nothing(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    options = ["train_dataloader.num_workers=2"]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "workers"))
    for_training(cfg)
    cfg.experiment_name = "workers"
    pretrain(cfg)
    assert same(weights(finished), weights(tmp_path / "workers"))


FULL_DISK = """
import os
from resnext_backbones.engine import loop
step = loop.EpochBasedTrainLoop.run_iter
def run_iter(self, *arguments):
    filler = os.path.join(os.path.dirname(self.runner.work_dir), "filler")
    if self._iter == 7:
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    elif self._iter == 10:
        os.unlink(filler)
    step(self, *arguments)
loop.EpochBasedTrainLoop.run_iter = run_iter
"""
"""The disk is full from the eighth step to the tenth, and an epoch ends between them."""


def test_checkpoints_within_an_epoch(config: Path, finished: Path, tmp_path: Path) -> None:
    hook = {"default_hooks.checkpoint.minutes": 1e-9, "default_hooks.checkpoint.max_keep_ckpts": -1}
    options = [f"{name}={value}" for name, value in hook.items()]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "run"))
    for_training(cfg)
    pretrain(cfg)
    files = {path.name for path in (tmp_path / "run").glob("*.pth")}
    # The last step of all is the last epoch's, which has a checkpoint of its own.
    assert files == {f"iter_{n}.pth" for n in range(1, 12)} | {
        f"epoch_{n}.pth" for n in range(1, 5)
    }
    assert same(weights(finished), weights(tmp_path / "run"))


@pytest.mark.whole
def test_a_damaged_checkpoint_is_passed_over(config: Path, finished: Path) -> None:
    expected = weights(finished)
    newest = finished / "epoch_4.pth"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert newest_checkpoint(finished) == finished / "epoch_3.pth"
    done = run(config, finished, "--resume")
    assert "epoch_4.pth: is damaged" in done.stdout + done.stderr
    assert same(weights(finished), expected)


@pytest.mark.parametrize(("batch", "parts"), [(24, 1), (48, 2)])
def test_another_batch_size_begins_the_epoch_anew(
    config: Path, finished: Path, tmp_path: Path, batch: int, parts: int
) -> None:
    cfg = read_config(
        str(config),
        [
            f"train_dataloader.batch_size={batch}",
            f"optim_wrapper.accumulative_counts={parts}",
            "train_cfg.max_epochs=5",
        ],
        work_dir=str(tmp_path / "other"),
    )
    for_training(cfg, resume=str(finished / "epoch_4.pth"))
    cfg.experiment_name = f"another_batch_size_{batch}"
    pretrain(cfg)
    log = next((tmp_path / "other").glob("*/*.log")).read_text()
    assert f"an epoch has {96 // batch} batches, and had 3 before" in log
    assert read_journal(tmp_path / "other")[-1].iter == 5 * 96 // batch
    # Who takes the config that it wrote for a new run does not mean to go on from that checkpoint.
    written = read_config(str(tmp_path / "other" / config.name), work_dir=str(tmp_path / "new"))
    assert (written.resume, written.load_from) == (False, None)


def test_a_run_goes_on_with_its_own_classes(
    config: Path, coloured: Path, finished: Path, tmp_path: Path
) -> None:
    classes = sorted(path.name for path in (coloured / "train").iterdir())
    order = tmp_path / "classes.txt"
    order.write_text("\n".join(reversed(classes)))
    options = [f"{part}_dataloader.dataset.class_list={order}" for part in ("train", "val")]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "run"))
    for_training(cfg, resume=str(finished / "epoch_3.pth"))
    cfg.experiment_name = "other_classes"
    with pytest.raises(InputError, match=r"epoch_3.pth: its 8 classes \(black, blue, .* are not"):
        pretrain(cfg)


@pytest.mark.parametrize("resumed", [True, False])
def test_a_run_goes_on_with_its_own_pixels(
    resumed: bool, config: Path, finished: Path, tmp_path: Path
) -> None:
    options = ["model.data_preprocessor.mean=[1,2,3]"]
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "run"))
    checkpoint = str(finished / "epoch_3.pth")
    for_training(cfg, resume=checkpoint if resumed else None)
    if not resumed:
        cfg.load_from = checkpoint
    cfg.experiment_name = f"other_pixels_{resumed}"
    with pytest.raises(
        InputError, match=r"its run had pixels RGB, mean \(123.675, .* has RGB, mea"
    ):
        pretrain(cfg)


def test_publishing_leaves_other_files_alone(finished: Path, tmp_path: Path) -> None:
    """Somebody's own file may have the name without its hash, and a card a licence."""
    (folder := tmp_path / "out").mkdir()
    (own := folder / "tiny.safetensors").write_text("mine")
    (first,) = finished.glob("*.safetensors")
    (card := folder / first.with_suffix(".md").name).write_text("licence: mit")
    assert publish(finished / "epoch_4.pth", folder).name == first.name
    assert (own.read_text(), card.read_text()) == ("mine", "licence: mit")
    assert {path.name for path in folder.iterdir()} == {own.name, first.name, card.name}


def test_a_loss_that_is_not_finite_ends_the_run(config: Path, tmp_path: Path) -> None:
    done = run(config, tmp_path / "bad", "--cfg-options", "optim_wrapper.optimizer.lr=1e30")
    assert done.returncode == 2, done.stderr[-2000:]
    assert "the loss of step 2 is nan" in done.stderr
    assert not list((tmp_path / "bad").glob("*.pth"))


def test_weights_that_a_step_has_spoilt_are_not_saved(config: Path, tmp_path: Path) -> None:
    """The loss of an epoch's last step is still finite."""
    options = [f"optim_wrapper.optimizer.{name}=1e30" for name in ("lr", "weight_decay")]
    options.append("train_dataloader.batch_size=96")
    cfg = read_config(str(config), options, work_dir=str(tmp_path / "spoilt"))
    for_training(cfg)
    cfg.auto_scale_lr.enable = False
    cfg.experiment_name = "spoilt"
    with pytest.raises(InputError, match=r"weights are NaN or infinite after step 1, and were not"):
        pretrain(cfg)
    assert not list((tmp_path / "spoilt").glob("*.pth"))


@pytest.mark.parametrize("limit", [0.02, 0.001])
def test_broken_images_are_named_and_counted(
    limit: float, config: Path, coloured: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(coloured, tmp_path / "broken")
    image = root / "train" / "blue" / "3.jpg"
    image.write_bytes(image.read_bytes()[:500])
    cfg = read_config(str(config), ["train_cfg.max_epochs=2"], work_dir=str(tmp_path / "run"))
    set_data_root(cfg, str(root))
    next(h for h in cfg.custom_hooks if h.type.endswith("BrokenImagesHook")).limit = limit
    cfg.experiment_name = f"broken{limit}"
    for_training(cfg)
    if limit == 0.001:
        with pytest.raises(InputError, match=rf"1 of 96 images cannot be read.*{image}"):
            pretrain(cfg)
        return
    pretrain(cfg)
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert re.search(rf"image {image}: cannot be read: .*; another one is taken", log)
    assert log.count("1 images could not be read so far") == 2
    assert "1 images could not be read in all" in log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    (disk := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.whole
def test_a_full_disk_leaves_the_older_checkpoints(
    config: Path, small_disk: Path, tmp_path: Path
) -> None:
    work_dir = small_disk / "run"
    done = run_prepared(FULL_DISK, config, work_dir, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "epoch_3.pth: not written: " in done.stdout
    journal = json.loads((work_dir / "checkpoints.json").read_text())
    assert [entry["file"] for entry in journal] == ["epoch_1.pth", "epoch_2.pth", "epoch_4.pth"]
    assert list(work_dir.glob("*.safetensors"))
