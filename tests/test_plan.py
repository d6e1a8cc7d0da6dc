"""The command `resnext plan`: what it says beside a real step, and what it refuses."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tooling import ROOT

from resnext_backbones import cli

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from detectors import DETECTOR

from resnext_backbones.engine import record
from resnext_backbones.engine.memory import training_options
from resnext_backbones.engine.plan.settings import Setting, as_it_is, single_changes, to_fit
from resnext_backbones.engine.plan.step import Footprint, build, take_step
from resnext_backbones.reports.page.facts import read_run
from resnext_backbones.reports.page.words import planned_memory
from resnext_backbones.reports.plan import more_text, now_text
from resnext_backbones.tasks.batches import batch_of, pin
from resnext_backbones.tasks.counted import count, read
from resnext_backbones.tasks.image_sizes import is_grouped
from resnext_backbones.tasks.plan import Plan, Row, _command, plan

GB = 10**9
TAKEN = Footprint(GB, GB, GB, 4 * GB, 8 * GB)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask_rcnn_x101_32x5d_fpn_coco"], "mask_rcnn_x101_32x5d_fpn_coco: no such file"),
        (["imagenet/a2", "--gpu", "plenty"], "plenty: use a number above zero and KB or MB or GB"),
        (["imagenet/a2", "--gpu", "0GB"], "0GB: use a number above zero"),
        (["imagenet/a2", "--size", "800"], "800: use HEIGHTxWIDTH"),
        (["detectron2/mask_rcnn_fpn_1x"], "Detectron2's, whose training step cannot be planned"),
    ],
)
def test_what_is_wrong_ends_with_one_message(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_changes_of_a_config_and_their_command_lines() -> None:
    cfg, _ = read("mask_rcnn_x50_32x4d_fpn_coco", None, None)
    now = as_it_is(cfg, "", None)
    assert now == Setting("", 2)
    said = [name for name, _ in single_changes(cfg, now)]
    assert said == [
        "--amp bf16",
        *(f"model.backbone.with_cp={mode}" for mode in ("inner", "block", "pair")),
        "model.backbone.frozen_stages=2",
        "train_dataloader.batch_size=1",
        "train_dataloader.batch_size=1 optim_wrapper.accumulative_counts=2 "
        "auto_scale_lr.base_batch_size=8",  # of 16: MMEngine scales the rate by one part of a batch
    ]
    *_, (halved, _) = single_changes(cfg, as_it_is(cfg, "", 4))
    assert halved == said[-1].replace("batch_size=1", "batch_size=2"), "the config's, and said"
    *_, least = to_fit(cfg, now)
    assert least == Setting("bf16", 1, 2, "pair")
    assert least.options(cfg, "") == ["--amp", "bf16", "--cfg-options", *said[-1].split(), said[3]]
    assert least.applied(cfg).model.backbone.with_cp == "pair"
    cfg.train_dataloader.dataset.batch_size = 2  # as shards have it, which the loader's is to be
    both = "train_dataloader.batch_size=1 train_dataloader.dataset.batch_size=1"
    assert [name for name, _ in single_changes(cfg, now)][-2] == both
    assert set(both.split()) < set(least.options(cfg, ""))
    assert any(both in line for line in training_options(cfg))


def test_a_plan_says_what_fits_and_what_does_not() -> None:
    made = Plan(
        "some_config", 2, (800, 1344), 100, "no data were found", "SGD", "", TAKEN,
        (Row("--amp bf16", TAKEN._replace(peak=6 * GB)),), "", 8 * GB, "resnext train x",
        TAKEN._replace(peak=6 * GB),
    )  # fmt: skip
    text = now_text(made)
    assert "2 x 800 x 1344 pixels, 100 objects in each (no data were found), float32" in text
    assert "+- 20%" in now_text(replace(made, fitted="an operator"))
    text = more_text(made, lambda peak: peak + GB)
    plain = " ".join(text.split())
    assert "--amp bf16 6.00 -25%" in plain
    assert "several GPUs (DDP's buckets copy the gradients) 9.00 +12%" in plain
    assert "Fits 8.00 GB, and takes 7.00 GB, with what is allowed" in text
    assert "\n    resnext train x\n" in text
    assert text.endswith("On each of several GPUs it takes 8.00 GB, which also fits.")
    tight = more_text(replace(made, gpu=7 * GB), lambda peak: peak + GB)
    assert tight.endswith("which does not fit.")
    none = more_text(replace(made, command=""), lambda peak: peak + 3 * GB)
    assert "Does not fit 8.00 GB: the least of all settings" in none


def test_a_plan_counts_each_setting_once_and_is_kept_for_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Setting] = []

    @contextmanager
    def at_once(_: object) -> Iterator[Callable[..., Future[tuple[Footprint, str]]]]:
        def call(function: object, *arguments: Any) -> Future[tuple[Footprint, str]]:
            assert function is count
            counted.append(setting := arguments[3])
            taken: Future[tuple[Footprint, str]] = Future()
            peak = 8 * GB if not setting.amp else 6 * GB if setting.recompute is None else 4 * GB
            taken.set_result((TAKEN._replace(peak=peak), ""))
            return taken

        yield call

    monkeypatch.setattr("resnext_backbones.tasks.plan.processes", at_once)
    shown: list[Plan] = []
    folder, told = tmp_path / "run", list[str]()
    made = plan("demo_coco", work_dir=str(folder), gpu=6 * GB, show=shown.append, say=told.append)
    assert "counted: --amp bf16 model.backbone.with_cp=inner" in told
    assert [(first.now, first.changes) for first in shown] == [(made.now, ())]
    assert made.changes
    assert len(counted) == len(set(counted))
    assert {setting.parts for setting in counted} == {1}
    assert shlex.split(made.command) == [
        "resnext", "train", "demo_coco", "--work-dir", str(folder), "--amp", "bf16",
        "--cfg-options", "model.backbone.with_cp=inner",
    ]  # fmt: skip
    assert made.best is not None
    record.begin(folder)
    assert planned_memory(read_run(folder)) == made.best.peak == 4 * GB

    counted.clear()
    (folder / record.PLAN).unlink()
    (folder / record.PLAN).mkdir()
    small = {"gpu": GB // 2, "size": (64, 64), "say": told.append}
    none = plan("demo_coco", work_dir=str(folder), **small)
    assert none.command == ""
    assert not any(setting.amp and setting.recompute for setting in counted)  # none could fit
    assert any(line.startswith("counted at 64 x 64, as --size says") for line in told)
    assert any(line.startswith("plan.json: not written: IsADirectoryError") for line in told)


@pytest.mark.whole
def test_nothing_is_said_of_packages_that_nobody_asked_for() -> None:
    command = [sys.executable, "-c", "import resnext_backbones.tasks.mmdetection.run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "OneDL" not in done.stdout
    assert "faster_coco_eval" not in done.stderr


@pytest.mark.whole
@pytest.mark.parametrize("amp", ["", "bf16"])
def test_a_tiny_detector_takes_what_is_planned(amp: str) -> None:
    size, boxes = (256, 320), 150
    arguments = "demo_coco", DETECTOR, None, Setting(amp, 1), size, boxes
    planned, fitted = count(*arguments)
    assert not fitted
    cfg, _ = read("demo_coco", DETECTOR, None)
    torch.manual_seed(0)
    ready = build(cfg)
    pin(ready.model)
    kind = torch.bfloat16 if amp else None
    real = take_step(ready, batch_of(cfg, 1, size, boxes), amp=kind)
    assert planned[:3] == real[:3]
    assert planned.kept == pytest.approx(real.kept, rel=0.1)
    assert planned.peak == pytest.approx(real.peak, rel=0.1)


def test_images_of_a_batch_are_padded_to_one_another() -> None:
    grouped, _ = read("mask_rcnn_x101_32x4d_fpn_coco", None, None)
    mixed, _ = read("torchvision/faster_rcnn_x50_32x4d_fpn_coco", None, None)
    assert is_grouped(grouped)
    assert not is_grouped(mixed)


def test_the_command_line_can_be_pasted() -> None:
    cfg, _ = read("demo_coco", None, None)
    line = _command(
        "my config.py", "mmdetection", cfg, Setting("bf16", 1), ["a=[1, 2]"], None, None
    )
    said = ["resnext", "train", "my config.py", "--amp", "bf16", "--cfg-options", "a=[1, 2]"]
    assert shlex.split(line)[:7] == said


@pytest.mark.whole
def test_averaged_weights_are_counted(tmp_path: Path) -> None:
    with_averages = tmp_path / "averages.py"
    base = ROOT / "configs" / "demo_coco.py"
    with_averages.write_text(f"_base_ = {str(base)!r}\ncustom_hooks = [dict(type='EMAHook')]\n")
    arguments = DETECTOR, None, Setting("", 1), (128, 160), 5
    plain, _ = count("demo_coco", *arguments)
    averaged, _ = count(str(with_averages), *arguments)
    assert averaged.averaged == plain.parameters == averaged.peak - plain.peak
