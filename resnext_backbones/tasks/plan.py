"""What a training step of a config takes of memory, what changes that, and what fits a GPU."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from resnext_backbones.engine import record
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.plan.apart import processes
from resnext_backbones.engine.plan.settings import Setting, as_it_is, single_changes, to_fit
from resnext_backbones.engine.plan.step import Footprint
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.counted import Counts, planned_engine, read
from resnext_backbones.tasks.engines import PRETRAINING
from resnext_backbones.tasks.image_sizes import is_grouped, largest_size, precision_of

BOXES = 100
"""Of an image, where no data set says how many there are: more than any of COCO's has."""

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


def on_gpu(peak: float) -> float:
    """Returns the bytes of a GPU that a step needs, by those of its tensors."""
    return CONTEXT + peak * (1 + LOST)


def plan(
    name: str,
    *,
    options: Sequence[str] | None = None,
    variant: str | None = None,
    work_dir: str | None = None,
    amp: str | None = None,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    boxes: int | None = None,
    gpu: int | None = None,
    show: Callable[[Plan], None] = lambda _: None,
    say: Callable[[str], None] = print,
) -> Plan:
    """Returns what a training step of a config takes, on a machine without a GPU.

    Args:
        name: as `find_config` takes.
        options, variant, work_dir, amp: as `resnext train` takes them. A work directory that is
            given gets the plan, for the page of the run there.
        batch, size, boxes: images of a step, (H, W) of each, and objects in each; None is the
            config's, its largest, and what 99% of its training images do not exceed.
        gpu: bytes of its memory.
        show: takes the plan as soon as the config's own setting is counted, before any change is.
        say: is told what is going on.

    Raises:
        InputError: there is no such config, it is Detectron2's, or it does not say a size; or the
            work directory cannot be one.
    """
    if work_dir:
        check_folder("--work-dir", work_dir)
    engine = planned_engine(name)
    with processes([f"resnext_backbones.tasks.{engine}.run", Counts.__module__]) as call:
        cfg, _ = read(name, options, variant)
        own = largest_size(cfg)
        found = size or own
        if found is None:
            raise InputError(f"config {name}: does not say how large its images are; give --size")
        if own and found != own:
            at, largest = (f"{height} x {width}" for height, width in (found, own))
            say(f"counted at {at}, as --size says; the config trains at up to {largest}")
        mixes = size is None and found[0] != found[1] and not is_grouped(cfg)
        now = as_it_is(cfg, amp or precision_of(cfg), batch)
        boxes, boxes_from = (boxes, "--boxes") if boxes else boxes_of(cfg, engine)
        if mixes and now.batch > 1:
            say(f"a batch may hold upright and wide images: it is as large as {max(found)} squared")
        counts = Counts(call, (name, options, variant), found, boxes, mixes=mixes)
        changes = list(single_changes(cfg, now))
        for setting in (now, *(each for _, each in changes)):
            counts.begin(setting)
        taken, fitted = counts.of(now)
        made = Plan(
            name, now.batch, found, boxes if engine != PRETRAINING else 0, boxes_from,
            str(cfg.optim_wrapper.optimizer.type).rpartition(".")[2], now.amp, taken, (),
            fitted, gpu,
        )  # fmt: skip
        show(made)
        for said, setting in changes:
            made = replace(made, changes=(*made.changes, Row(said, counts.of(setting)[0])))
            say(f"counted: {said}")
        if gpu is not None:
            settings = list(to_fit(cfg, now)) if gpu > CONTEXT else [now]
            best, fits = _best(counts, settings, gpu, lambda s: _said(s, cfg, say))
            line = _command(name, engine, cfg, fits, options, variant, work_dir) if fits else ""
            made = replace(made, best=best, command=line)
    if work_dir:
        kept = made.best if made.command and made.best else made.now
        with record.harmless(say, record.PLAN):
            record.note_plan(Path(work_dir), planned_bytes=kept.peak, command=made.command)
            say(f"kept for the page of the run: {Path(work_dir, record.PLAN)}")
    return made


def _best(
    counts: Counts, settings: list[Setting], gpu: int, told: Callable[[Setting], None]
) -> tuple[Footprint, Setting | None]:
    """Returns what the first of some settings takes that fits, and which it is; what the least
    takes, and None, where none does.
    """
    least = counts.of(settings[0])[0]
    for setting, following in zip(settings, [*settings[1:], settings[0]], strict=True):
        if not counts.begin(setting).done():
            counts.begin(following)  # while this one is counted
        taken = counts.of(setting)[0]
        told(setting)
        if on_gpu(taken.peak) <= gpu:
            return taken, setting
        least = min(least, taken, key=lambda each: each.peak)
    return least, None


def _said(setting: Setting, cfg: Config, say: Callable[[str], None]) -> None:
    if options := setting.options(cfg, precision_of(cfg)):
        say(f"counted: {' '.join(part for part in options if part != '--cfg-options')}")


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
    options: Sequence[str] | None,
    variant: str | None,
    work_dir: str | None,
) -> str:
    """Returns the command line that trains with a setting, beside what was given."""
    given = setting.options(cfg, precision_of(cfg))
    flags = [part for part in given if part in ("--amp", setting.amp)]
    pairs = [*(options or ()), *(part for part in given if "=" in part)]
    return shlex.join(
        [
            "resnext",
            "pretrain" if engine == PRETRAINING else "train",
            name,
            *(["--variant", variant] if variant else []),
            *(["--work-dir", work_dir] if work_dir else []),
            *flags,
            *(["--cfg-options", *pairs] if pairs else []),
        ]
    )
