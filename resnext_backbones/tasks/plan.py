"""What a training step of a config takes of memory, what changes that, and what fits a GPU."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from resnext_backbones.engine import runner as _registers  # noqa: F401
from resnext_backbones.engine.config import read_config, use_variant
from resnext_backbones.engine.plan.apart import processes, result_of
from resnext_backbones.engine.plan.footprint import footprint
from resnext_backbones.engine.plan.settings import Setting, as_it_is, single_changes, to_fit
from resnext_backbones.engine.plan.step import Footprint
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.batches import batch_of, pin
from resnext_backbones.tasks.engines import (
    DETECTRON2,
    PRETRAINING,
    TORCHVISION,
    engine_of,
    task_of,
)
from resnext_backbones.tasks.image_sizes import is_grouped, largest_size, precision_of

BOXES = 100
"""Of an image, where no data set says how many there are: more than any of COCO's has."""

CLASSES = 91
"""Of a network whose data set would say how many there are: as many as COCO numbers."""

CONTEXT = 0.75e9
"""Bytes that a process takes of a GPU before the first tensor: CUDA's context and its libraries'
kernels. An allowance: it varies from GPU to GPU."""

LOST = 0.08
"""Share of the peak that an allocator cannot use, and that cuDNN works in. An allowance, too."""


@dataclass(frozen=True)
class Row:
    """A setting, by what its command line says, and what a step with it takes."""

    said: str
    footprint: Footprint


@dataclass(frozen=True)
class Plan:
    """Says what a training step takes.

    Attributes:
        name: of the config.
        images, size: of a step, (H, W); `boxes` of each image, 0 for a classifier.
        boxes_from: where the number of boxes is from.
        optimizer: its class.
        now: as the config has it, and with each single change `changes`.
        fitted: why the steps were real ones with small images, so that numbers are to 20%; "".
        gpu: bytes; None where none was named.
        command: the best setting that fits; "" where none does, and without a GPU.
        best: what it takes; without one that fits, what the least takes.
    """

    name: str
    images: int
    size: tuple[int, int]
    boxes: int
    boxes_from: str
    optimizer: str
    amp: str
    now: Footprint
    changes: tuple[Row, ...]
    fitted: str
    gpu: int | None = None
    command: str = ""
    best: Footprint | None = None


def on_gpu(footprint: Footprint) -> float:
    """Returns the bytes of a GPU that a step needs, with what is allowed beside its tensors."""
    return CONTEXT + footprint.peak * (1 + LOST)


def plan(
    name: str,
    *,
    options: Sequence[str] | None = None,
    variant: str | None = None,
    amp: str | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    boxes: int | None = None,
    gpu: int | None = None,
    say: Callable[[str], None] = print,
) -> Plan:
    """Returns what a training step of a config takes, on a machine without a GPU.

    Args:
        name: as `find_config` takes.
        options, variant, amp: as `resnext train` takes them.
        batch, size, boxes: images of a step, (H, W) of each, and objects in each; None is the
            config's, its largest, and what 99% of its training images do not exceed.
        gpu: bytes of its memory.
        say: is told what is going on.

    Raises:
        InputError: there is no such config, it is Detectron2's, or it does not say a size.
    """
    cfg, engine = read(name, options, variant)
    found = size or largest_size(cfg)
    if found is None:
        raise InputError(f"config {name}: does not say how large its images are; give --size")
    own = precision_of(cfg)
    now = as_it_is(cfg, amp or own, batch)
    boxes, boxes_from = (boxes, "--boxes") if boxes else boxes_of(cfg, engine)
    command, best = "", None
    if size is None and found[0] != found[1] and now.batch > 1 and not is_grouped(cfg):
        say(f"a batch may hold upright and wide images: it is as large as {max(found)} squared")
    with processes([f"resnext_backbones.tasks.{engine}.run", __name__]) as call:

        def begin(setting: Setting) -> Future[tuple[Footprint, str]]:
            mixed = size is None and setting.batch > 1 and not is_grouped(cfg)
            sides = (max(found), max(found)) if mixed else found
            return call(count, name, options, variant, setting, sides, boxes)

        changes = list(single_changes(cfg, now))
        begun = {setting: begin(setting) for setting in (now, *(each for _, each in changes))}
        first, fitted = result_of(begun[now])
        say("counted: as it is")
        rows = []
        for said, setting in changes:
            rows.append(Row(said, result_of(begun[setting])[0]))
            say(f"counted: {said}")
        for setting in to_fit(cfg, now) if gpu is not None else ():
            if setting not in begun:
                say(f"counted: {' '.join(setting.options(cfg, own))}")
            taken = result_of(begun.get(setting) or begin(setting))[0]
            if best is None or taken.peak < best.peak:
                best = taken
            if on_gpu(taken) <= (gpu or 0):
                command, best = _command(name, engine, cfg, setting, own, options, variant), taken
                break
    optimizer = str(cfg.optim_wrapper.optimizer.type).rpartition(".")[2]
    plain = boxes if engine != PRETRAINING else 0
    return Plan(
        name, now.batch, found, plain, boxes_from, optimizer, now.amp, first, tuple(rows),
        fitted, gpu, command, best,
    )  # fmt: skip


def count(
    name: str,
    options: Sequence[str] | None,
    variant: str | None,
    setting: Setting,
    size: tuple[int, int],
    boxes: int,
) -> tuple[Footprint, str]:
    """Returns what a training step takes with a setting, and why that is fitted; "" if it is not.

    Args:
        name, options, variant, size, boxes: as of `plan`.
    """
    cfg = setting.applied(read(name, options, variant)[0])

    def make(images: int, sides: tuple[int, int]) -> Callable[[], Any]:
        return batch_of(cfg, images, sides, boxes)

    accumulates = setting.parts > 1
    return footprint(cfg, make, setting.batch, size, setting.amp, accumulates=accumulates, pin=pin)


def read(name: str, options: Sequence[str] | None, variant: str | None) -> tuple[Config, str]:
    """Returns a config as a plan takes it, and the folder of `tasks` that it is for; errors as of
    `plan`.
    """
    engine = engine_of(name)
    if engine == DETECTRON2:
        raise InputError(
            f"plan: config {name} is Detectron2's, whose training step cannot be planned; the "
            "config of MMDetection with the same detector, such as mask_rcnn_x101_32x4d_fpn_coco, "
            "takes about as much"
        )
    if engine == PRETRAINING:
        from resnext_backbones.tasks.classification import run as _names  # noqa: F401

        cfg = read_config(name, options)
        cfg.model.compiled = False  # the compiler may keep less
    else:
        cfg = task_of(engine, "train").load_config(name, options)
    if variant is not None:
        use_variant(cfg, variant)
    if not cfg.get("optim_wrapper") or not cfg.get("train_dataloader"):
        raise InputError(f"config {name}: has no optim_wrapper or train_dataloader to train with")
    if engine == TORCHVISION and cfg.model.get("num_classes") is None:
        cfg.model.num_classes = CLASSES
    return cfg, engine


def boxes_of(cfg: Config, engine: str) -> tuple[int, str]:
    """Returns how many objects 99% of a config's training images do not exceed, and where that is
    from.
    """
    from resnext_backbones.data.annotations import inspect_annotations
    from resnext_backbones.data.rules import Use

    if engine == PRETRAINING:
        return 0, ""
    found = []
    for dataset in dicts_with(cfg.train_dataloader, lambda d: isinstance(d.get("ann_file"), str)):
        path = Path(dataset.get("data_root") or ".") / dataset["ann_file"]
        if path.is_file() and path.suffix == ".json":
            summary = inspect_annotations(path, Use(train=True)).summary
            found.append((int(summary["objects_in_99_percent"]), str(path)))
    most = max(found, default=(0, ""))
    return most if most[0] else (BOXES, "no data were found")


def _command(
    name: str,
    engine: str,
    cfg: Config,
    setting: Setting,
    own: str,
    options: Sequence[str] | None,
    variant: str | None,
) -> str:
    """Returns the command line that trains with a setting, beside what was given."""
    given = setting.options(cfg, own)
    flags = [part for part in given if part in ("--amp", setting.amp)]
    pairs = [*(options or ()), *(part for part in given if "=" in part)]
    return shlex.join(
        [
            "resnext",
            "pretrain" if engine == PRETRAINING else "train",
            name,
            *(["--variant", variant] if variant else []),
            *flags,
            *(["--cfg-options", *pairs] if pairs else []),
        ]
    )
