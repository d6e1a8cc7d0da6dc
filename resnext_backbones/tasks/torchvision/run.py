"""Training and evaluating a network of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine import runner
from resnext_backbones.engine.fit import (
    check_classes,
    check_count,
    check_weights,
    fetch_weights,
    stop_at,
    unlike_its_run,
)
from resnext_backbones.engine.hooks import ReportHook
from resnext_backbones.errors import BUILD_ERRORS, InputError, some
from resnext_backbones.tasks.torchvision import (  # noqa: F401
    instances,
    metrics,
    models,
    pixels,
    schedule,
)
from resnext_backbones.tasks.torchvision.earlier import TranslateHook, translated
from resnext_backbones.tasks.torchvision.models import DETECTOR, SEGMENTER
from resnext_backbones.tasks.torchvision.weights import given, given_pixels, use_of

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
        """Compares them.

        Raises:
            InputError: they differ.
        """
        train = runner.train_dataloader
        val = runner.val_dataloader if runner.val_loop else train
        check_classes(train, val, runner.cfg.model.num_classes)


def train(cfg: Config, *, allow_mismatch: bool = False, changed: str = "") -> Path:
    """Trains as a config says; checkpoints, logs and curves go to its work directory.

    Args:
        allow_mismatch: warn, and go on, where pixels, norms or frozen layers do not fit the
            weights, and where a run goes on with other settings.
        changed: what `use_weights` returned, for the log.

    Returns:
        The work directory.

    Raises:
        InputError: the data, an argument of the model, or the checkpoint to resume or to begin
            with is wrong, or the network does not fit the backbone's weights.
        WeightsError: the backbone's weights cannot be had, or do not fit.
    """
    given_pixels(cfg.model)
    _check_batch(cfg)
    classes = _settle_classes(cfg, cfg.get("val_dataloader") or cfg.train_dataloader)
    to_resume = bool(cfg.get("resume"))
    meta = runner.resume(cfg) if to_resume else _begin(cfg)
    name = str(cfg.get("load_from"))
    again = partial(given, to_resume=to_resume)
    problems = unlike_its_run(cfg.model, name, meta, again, to_resume=to_resume)
    stop_at(problems, allow_mismatch=allow_mismatch, to="go on")
    if to_resume:
        _check_seen_classes(name, meta, classes)
    check_weights(use_of(cfg), allow_mismatch=allow_mismatch)
    fetch_weights(use_of(cfg))
    if cfg.get("load_from"):
        cfg.model.backbone.weights = None  # the checkpoint has the whole network
    report = ReportHook(models.find_trunk, lambda _: str(given_pixels(cfg.model)), changed)
    return runner.train(cfg, ClassesHook(), TranslateHook(), report)


def evaluate(
    cfg: Config, checkpoint: str, *, out: Path | None = None, show_dir: Path | None = None
) -> dict[str, float]:
    """Evaluates a checkpoint; prints the table of COCO's numbers, or of the classes of pixels.

    Args:
        out: where the metrics are written as JSON, and beside it the table as text; None is
            coco_metrics.json or segmentation_metrics.json in the work directory.
        show_dir: must be None.

    Raises:
        InputError: the data or the checkpoint is wrong, or it was trained on other pixels.
        WeightsError: the checkpoint cannot be read.
    """
    if show_dir is not None:
        raise InputError("--show-dir: draws what MMDetection's detectors find; leave it out here")
    given_pixels(cfg.model)
    classes = _settle_classes(cfg, cfg.test_dataloader)
    meta = runner.check_checkpoint(checkpoint, cfg, translated(runner.read_checkpoint(checkpoint)))
    again = partial(given, to_resume=False)
    for problem in unlike_its_run(cfg.model, checkpoint, meta, again, to_resume=False):
        raise InputError(problem)
    _check_seen_classes(checkpoint, meta, classes)
    if cfg.model.type == DETECTOR:
        cfg.test_evaluator.out = str(Path(cfg.work_dir) / FOUND)
    name, table = METRICS[cfg.model.type]
    out = out or Path(cfg.work_dir) / f"{name}.json"
    return runner.evaluate(cfg, checkpoint, out, table, TranslateHook())


def _begin(cfg: Config) -> dict[str, Any]:
    """Checks that the network of `load_from` is the config's, if there is one to begin with;
    returns what it says of its run.
    """
    path = cfg.get("load_from")
    if not path:
        return {}
    content = translated(runner.read_checkpoint(path))
    try:
        return runner.check_checkpoint(path, cfg, content)
    except InputError as error:
        alone = f"to begin with its backbone alone, give --weights {path} without load_from"
        raise InputError(f"load_from: {error}\n{alone}") from error


def _check_batch(cfg: Config) -> None:
    if cfg.model.type == SEGMENTER and cfg.train_dataloader.batch_size < 2:
        raise InputError(
            f"train_dataloader.batch_size {cfg.train_dataloader.batch_size}: must be at least 2, "
            "since norms follow a batch"
        )


def _settle_classes(cfg: Config, loader: Mapping[str, Any]) -> Sequence[str]:
    """Has the network tell apart as many classes as the images have, unless the config says how
    many; returns their names.
    """
    try:
        classes = DATASETS.build(dict(loader["dataset"])).metainfo["classes"]
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    if cfg.model.get("num_classes") is None:
        cfg.model.num_classes = len(classes)
    check_count(classes, cfg.model.num_classes)
    return classes


def _check_seen_classes(name: str, meta: Mapping[str, Any], classes: Sequence[str]) -> None:
    seen = (meta.get("dataset_meta") or {}).get("classes")
    if seen is not None and tuple(seen) != tuple(classes):
        raise InputError(
            f"checkpoint {name}: its {len(seen)} classes ({some(seen)}) are not the images' "
            f"{len(classes)} ({some(classes)})"
        )
