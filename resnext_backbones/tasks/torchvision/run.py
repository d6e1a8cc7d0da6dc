"""Training and evaluating a network of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine import runner
from resnext_backbones.engine.config import read_config
from resnext_backbones.engine.fit import check_classes, check_count
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.tasks.run import Task
from resnext_backbones.tasks.torchvision import instances, metrics, pixels, schedule  # noqa: F401
from resnext_backbones.tasks.torchvision.earlier import TranslateHook, translated
from resnext_backbones.tasks.torchvision.models import DETECTOR, SEGMENTER, find_trunk
from resnext_backbones.tasks.torchvision.weights import given, given_pixels, use_of, use_weights
from resnext_backbones.weights.sources import locate

METRICS = {
    DETECTOR: ("coco_metrics", coco_table),
    SEGMENTER: ("segmentation_metrics", metrics.pixel_table),
}
"""By the type of the model: the name of the file of its numbers, and their table."""

FOUND = "detections.json"
"""What a detector found, in the work directory, as COCO's server takes it."""


class ClassesHook(Hook):
    """Stops a run whose images and head do not tell the same classes apart."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Raises InputError where they differ."""
        train = runner.train_dataloader
        val = runner.val_dataloader if runner.val_loop else train
        check_classes(train, val, runner.cfg.model.num_classes)


def check_data(cfg: Config, mode: str) -> Sequence[str]:
    """Checks pixels, batch and images, or raises InputError; returns the names of the classes, and
    has the network tell as many apart if the config does not say how many.
    """
    given_pixels(cfg.model)
    loader = cfg.test_dataloader
    if mode == "train":
        loader, batch = cfg.get("val_dataloader") or cfg.train_dataloader, cfg.train_dataloader
        if cfg.model.type == SEGMENTER and batch.batch_size < 2:
            raise InputError(
                f"train_dataloader.batch_size {batch.batch_size}: must be at least 2, since norms "
                "follow a batch"
            )
    try:
        classes = DATASETS.build(dict(loader["dataset"])).metainfo["classes"]
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    if cfg.model.get("num_classes") is None:
        cfg.model.num_classes = len(classes)
    check_count(classes, cfg.model.num_classes)
    return classes


def begin(cfg: Config) -> Mapping[str, Any]:
    """Checks that the checkpoint to resume, or the network of `load_from`, is the config's; returns
    what it says of its run. InputError, WeightsError: it is another, or cannot be had or read.
    """
    meta: Mapping[str, Any] = {}
    if cfg.get("resume"):
        meta = runner.resume(cfg)
    elif source := cfg.get("load_from"):
        try:
            cfg.load_from = str(locate(source))
            meta = runner.check_checkpoint(cfg.load_from, cfg, read_checkpoint(cfg.load_from))
        except (InputError, FileNotFoundError) as error:
            alone = f"to begin with its backbone alone, give --weights {source} without load_from"
            raise InputError(f"load_from: {error}\n{alone}") from error
    if cfg.get("load_from"):
        cfg.model.backbone.weights = None  # the checkpoint has the whole network
    return meta


def read_checkpoint(path: str) -> Mapping[str, Any]:
    """Returns what a checkpoint holds, also one of this package's loop of before."""
    return translated(runner.read_checkpoint(path))


def test_hooks(cfg: Config, show_dir: Path | None) -> Sequence[Hook]:
    """Returns the hooks of an evaluation; what a detector finds goes into the work directory."""
    if show_dir is not None:
        raise InputError("--show-dir: draws what MMDetection's detectors find; leave it out here")
    if cfg.model.type == DETECTOR:
        cfg.test_evaluator.out = str(Path(cfg.work_dir) / FOUND)
    return [TranslateHook()]


TASK = Task(
    load_config=read_config,
    use_weights=use_weights,
    check_data=check_data,
    begin=begin,
    use_of=use_of,
    given=given,
    find_backbone=find_trunk,
    hooks=lambda: [ClassesHook(), TranslateHook()],
    test_hooks=test_hooks,
    metrics=lambda cfg: METRICS[cfg.model.type],
    read_checkpoint=read_checkpoint,
)
