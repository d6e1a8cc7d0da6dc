"""The demo goes the whole way from images to AP, on a processor of a few cores."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from resnext_backbones.datasets import coco_subset, generate_shapes, object_crops
from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.engine.config import read_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config

METRICS = {
    "box AP": "coco/bbox_mAP",
    "box AP50": "coco/bbox_mAP_50",
    "mask AP": "coco/segm_mAP",
    "mask AP50": "coco/segm_mAP_50",
}

FOR_FEW = 10
"""Epochs of pretraining where few images follow: with 2 it is worth less than seeds differ."""


def on_few(images: int, steps: int, batch: int = 4) -> list[str]:
    """Returns settings with which the demo's detector takes about so many steps on few images.

    Args:
        batch: images a step; the default is that of configs/demo_coco.py.
    """
    epochs = max(1, round(steps / math.ceil(images / batch)))
    places = ("train_cfg.max_epochs", "train_cfg.val_interval", "param_scheduler.1.T_max",
              "param_scheduler.1.end", "default_hooks.checkpoint.interval")  # fmt: skip
    return [f"{place}={epochs}" for place in places]


def run_demo(
    work_dir: Path,
    *,
    coco_root: Path | None = None,
    num_train: int,
    num_val: int,
    train_on: int | None = None,
    variant: str | None = None,
    compare: bool = False,
    cfg_options: Sequence[str] = (),
    pretrain_options: Sequence[str] = (),
) -> Path:
    """Makes a data set, pretrains on its objects, and trains a detector from these weights.

    All of it by the commands that a user has: `pretrain`, whose published file `train` takes, and
    `test`. Raises InputError where `work_dir` exists, or a command failed.

    Args:
        work_dir: a new folder; data, logs, checkpoints and results go there.
        coco_root: a COCO tree, of which the first images are taken; None draws shapes.
        train_on: the detector sees so many of the images, for as many steps as on all; the crops
            that the backbone is pretrained on come from all, and are seen ten times.
        variant: a name of `list_variants()`, in place of the configs' own.
        compare: train another detector from random weights.
        cfg_options, pretrain_options: settings of the detector's and of the classifier's config.

    Returns:
        The folder with coco_metrics.json, coco_metrics.txt, curves.png, pictures/ and, with the
        extra `report`, report.html of the detector, and in random_weights/ those of the one to
        compare it with.
    """
    if work_dir.exists():
        raise InputError(f"--work-dir {work_dir}: exists already; name a new folder")
    config = "demo_shapes" if coco_root is None else "demo_coco"
    if variant is not None:
        cfg_options = [f"model.backbone.variant={variant}", *cfg_options]
        pretrain_options = [f"model.network.variant={variant}", *pretrain_options]
    if train_on is not None:
        if not 1 <= train_on <= num_train:
            raise InputError(f"--train-on {train_on}: give 1 to {num_train}, of --num-train")
        cfg = load_config(config, cfg_options)
        batch = cfg.train_dataloader.batch_size
        few = on_few(train_on, cfg.train_cfg.max_epochs * math.ceil(num_train / batch), batch)
        cfg_options = [*cfg_options, f"train_dataloader.dataset.indices={train_on}", *few]
        pretrain_options = [f"train_cfg.max_epochs={FOR_FEW}", *pretrain_options]
    # Hours would pass until a setting of the detector is read.
    check_folder("--work-dir", work_dir)
    check_run(load_config(config, cfg_options, work_dir=str(work_dir)), "train")
    check_run(read_config("demo_crops", pretrain_options, work_dir=str(work_dir)), "train")
    data, crops, pretraining = (work_dir / name for name in ("data", "crops", "pretraining"))
    try:
        if coco_root is None:
            generate_shapes(data, num_train=num_train, num_val=num_val)
        else:
            coco_subset(coco_root, data, num_train=num_train, num_val=num_val)
        classes = len(object_crops(data, crops))
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error

    _run(
        "pretrain", "demo_crops", "--no-tune", "--data-root", crops, "--work-dir", pretraining,
        "--cfg-options", f"model.num_classes={classes}", *pretrain_options,
    )  # fmt: skip
    (weights,) = pretraining.glob("*.safetensors")
    runs = {"pretraining": (work_dir, ["--weights", str(weights)])}
    if compare:
        runs["random weights"] = (work_dir / "random_weights", [])
    table = Table("backbone from", *METRICS, title="On images not seen in training")
    if compare:
        three = "; docs/pretraining.md has three, with error bars" if coco_root is None else ""
        table.caption = f"of one seed{three}"
    for name, (folder, arguments) in runs.items():
        shared = [
            "--work-dir",
            str(folder),
            *(["--cfg-options", *cfg_options] if cfg_options else []),
        ]
        _run("train", config, "--no-tune", *arguments, *shared, coco_root=data)
        checkpoint = (folder / "last_checkpoint").read_text(encoding="utf-8").strip()
        show = ["--show-dir", str(folder / "pictures")]
        _run("test", config, checkpoint, *show, *shared, coco_root=data)
        metrics = json.loads((folder / "coco_metrics.json").read_text(encoding="utf-8"))
        # Where nothing was found at all, COCO's evaluation has no numbers.
        known = [metrics.get(key) for key in METRICS.values()]
        table.add_row(name, *("-" if ap is None else f"{100 * ap:.1f}" for ap in known))
    accuracy = read_journal(pretraining)[-1].metrics["accuracy/top1"]
    print(f"pretrained to {accuracy:.1%} top-1 on {classes} classes of crops: {weights}")
    Console(width=80).print(table)
    return work_dir.absolute()


def _run(command: str, *arguments: str | Path, coco_root: Path | None = None) -> None:
    line = [command, *map(str, arguments)]
    print("$ resnext", *line, flush=True)
    # Where other programs share the cores, threads that wait busily slow each other many times.
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    if coco_root is not None:
        env["COCO_ROOT"] = str(coco_root)
    program = [sys.executable, "-m", "resnext_backbones", *line]
    status = subprocess.run(program, env=env, check=False).returncode
    if status:
        raise InputError(f"{command} ended with exit status {status}; its message is above")
