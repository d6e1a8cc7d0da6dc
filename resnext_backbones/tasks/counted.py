"""Training steps of a config are counted in processes of their own, each setting once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from resnext_backbones.engine import runner as _registers  # noqa: F401
from resnext_backbones.engine.config import read_config, use_variant
from resnext_backbones.engine.plan.apart import result_of
from resnext_backbones.engine.plan.footprint import footprint
from resnext_backbones.engine.plan.settings import Setting
from resnext_backbones.engine.plan.step import Footprint
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.batches import batch_of, pin
from resnext_backbones.tasks.engines import DETECTRON2, PRETRAINING, TORCHVISION, engine_of, task_of

CLASSES = 91
"""A network has so many, as COCO numbers, where its data set would say how many there are."""

Given = tuple[str, Sequence[str] | None, str | None]
"""A config's name, the settings beside it, and a variant."""


class Counts:
    """Counts what settings take, each once: parts of batches are batches, with gradients there.

    Args:
        call: as `processes` gives it.
        given, size, boxes: as of `count`.
        mixes: a batch may have upright images and wide ones, and is then padded to squares.
    """

    def __init__(
        self,
        call: Callable[..., Future[tuple[Footprint, str]]],
        given: Given,
        size: tuple[int, int],
        boxes: int,
        *,
        mixes: bool,
    ) -> None:
        self._call, self._given, self._boxes = call, given, boxes
        self._size, self._mixed = size, ((max(size), max(size)) if mixes else size)
        self._begun: dict[Setting, Future[tuple[Footprint, str]]] = {}

    def begin(self, setting: Setting) -> Future[tuple[Footprint, str]]:
        """Has a setting be counted; a part of a batch as a batch."""
        whole = replace(setting, parts=1)
        if whole not in self._begun:
            sides = self._mixed if setting.batch > 1 else self._size
            self._begun[whole] = self._call(count, *self._given, whole, sides, self._boxes)
        return self._begun[whole]

    def of(self, setting: Setting) -> tuple[Footprint, str]:
        """Returns what a setting takes, and why that is fitted; "" if it is not."""
        taken, fitted = result_of(self.begin(setting))
        return (taken.accumulated() if setting.parts > 1 else taken), fitted


def count(
    name: str,
    options: Sequence[str] | None,
    variant: str | None,
    setting: Setting,
    size: tuple[int, int],
    boxes: int,
) -> tuple[Footprint, str]:
    """Returns what a training step takes with a setting, of one batch, and why that is fitted; ""
    if it is not.

    Args:
        name, options, variant, size, boxes: as of `tasks.plan.plan`.
    """
    cfg = setting.applied(read(name, options, variant)[0])

    def make(images: int, sides: tuple[int, int]) -> Callable[[], Any]:
        return batch_of(cfg, images, sides, boxes)

    return footprint(cfg, make, setting.batch, size, setting.amp, pin=pin)


def read(name: str, options: Sequence[str] | None, variant: str | None) -> tuple[Config, str]:
    """Returns a config as a plan takes it, and the folder of `tasks` that it is for; errors as of
    `tasks.plan.plan`.
    """
    engine = planned_engine(name)
    cfg = without_data(name, engine, options)
    if variant is not None:
        use_variant(cfg, variant)
    if not cfg.get("optim_wrapper") or not cfg.get("train_dataloader"):
        raise InputError(f"config {name}: has no optim_wrapper or train_dataloader to train with")
    return cfg, engine


def without_data(name: str, engine: str, options: Sequence[str] | None = None) -> Config:
    """Returns a config whose network can be built before its images are there; errors as of
    `read_config`.
    """
    if engine == PRETRAINING:
        from resnext_backbones.tasks.classification import run as _names  # noqa: F401

        cfg = read_config(name, options)
        cfg.model.compiled = False  # the compiler may keep less
    else:
        cfg = task_of(engine, "train").load_config(name, options)
    if engine == TORCHVISION and cfg.model.get("num_classes") is None:
        cfg.model.num_classes = CLASSES
    return cfg


def planned_engine(name: str) -> str:
    """Returns the folder of `tasks` that a config is for; InputError where none can be planned."""
    engine = engine_of(name)
    if engine == DETECTRON2:
        raise InputError(
            f"plan: config {name} is Detectron2's, whose training step cannot be planned; the "
            "config of MMDetection with the same detector, such as mask_rcnn_x101_32x4d_fpn_coco, "
            "takes about as much"
        )
    return engine
