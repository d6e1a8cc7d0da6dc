"""A network of torchvision is trained and evaluated, once its config is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.build import architecture_and_options
from resnext_backbones.data.annotations import Annotations
from resnext_backbones.data.aspect import CUT, check_aspect
from resnext_backbones.data.between import check_truth, warn_of_both
from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine import fit
from resnext_backbones.engine.begin import Begin, of_run
from resnext_backbones.engine.checks import network
from resnext_backbones.engine.config import BEGAN_WITH, read_config
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.models.architecture import UNSEEN, Architecture
from resnext_backbones.tasks.run import Task
from resnext_backbones.tasks.torchvision import instances, metrics, pixels, schedule  # noqa: F401
from resnext_backbones.tasks.torchvision.earlier import TranslateHook, translated
from resnext_backbones.tasks.torchvision.models import (
    DEFAULTS,
    DETECTOR,
    EVERYTHING,
    SEGMENTER,
    find_trunk,
)
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.sources import locate
from resnext_backbones.weights.write_detectors import ALIGNED

METRICS = {
    DETECTOR: ("coco_metrics", coco_table),
    SEGMENTER: ("segmentation_metrics", metrics.pixel_table),
}
"""Each type of model has a file of its numbers, and a table of them."""

READ_AS = "RGB"

MOVING = ("BN", "SyncBN")
"""The norms with the statistics of each batch."""

TRAINED = {"trainable_layers": EVERYTHING, "norm": "BN"}
"""A backbone of random values is trained with these."""


def use_weights(cfg: Config, weights: str) -> str:
    """Sets the backbone's weights as MMDetection's `use_weights`: with "none" all layers are
    trained, and norms that were frozen learn their statistics.
    """
    given_pixels(cfg.model)
    if weights != fit.NONE:
        cfg.model.backbone.weights = weights
        fit.give_pixels(cfg.model, weights, READ_AS)
        return ""
    frozen = _frozen(cfg.model)
    cfg.model.backbone.update({"weights": None, **{name: TRAINED[name] for name in frozen}})
    return fit.said_of_none(f"{name} {old} -> {TRAINED[name]}" for name, old in frozen.items())


def use_of(cfg: Config) -> fit.WeightsUse | None:
    """Returns what a network does with its backbone's weights; None where a run goes on."""
    if cfg.get("load_from"):
        return None
    frozen = _frozen(cfg.model)
    return fit.use_of_source(
        cfg.model.backbone.get("weights"),
        given_pixels(cfg.model),
        frozen=", ".join(f"{name}={value}" for name, value in frozen.items()),
        unfreeze=" ".join(f"model.backbone.{name}={TRAINED[name]}" for name in frozen),
        norms_move=_value(cfg.model, "norm") in MOVING,
        still_norms="model.backbone.norm=FrozenBN",
    )


def given_pixels(model: Mapping[str, Any]) -> Preprocessing:
    """Returns the pixels that a network gives its backbone; InputError: the config does not say."""
    given = fit.given_pixels(model, READ_AS)
    if given is None:
        raise InputError(
            "model.data_preprocessor: has no mean and std, which say what the backbone's pixels "
            "are; take the one of configs/_base_/torchvision.py"
        )
    return given


def given(model: Mapping[str, Any], *, to_resume: bool) -> dict[str, Any]:
    """Returns what of a config must be as it was in the run that a checkpoint is of."""
    architecture = _architecture(model["backbone"])
    return {
        "pixels": given_pixels(model),
        "output_stride": model.get("output_stride", _default(model, "output_stride")),
        ALIGNED: model.get(ALIGNED, False),
        **({n: getattr(architecture, n) for n in (*UNSEEN, "stem")} if architecture else {}),
        **{name: _value(model, name) for name in (TRAINED if to_resume else ())},
    }


def _frozen(model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of `TRAINED` by which something would stay as it is, with their values."""
    layers, norm = (_value(model, name) for name in TRAINED)
    architecture = _architecture(model["backbone"])
    everything = len(architecture.blocks) + 1 if architecture else EVERYTHING
    values = {"trainable_layers": layers} if layers < everything else {}
    return {**values, "norm": norm} if norm == "FrozenBN" else values


def _architecture(backbone: Mapping[str, Any]) -> Architecture | None:
    """Returns the architecture; None of a variant of another version."""
    try:
        return architecture_and_options(backbone["variant"], dict(backbone))[0]
    except (KeyError, TypeError, ValueError):
        return None


def _value(model: Mapping[str, Any], name: str) -> Any:
    return model["backbone"].get(name, _default(model, name))


def _default(model: Mapping[str, Any], name: str) -> Any:
    return DEFAULTS.get(model.get("type", ""), {}).get(name)


COCO_AP = "resnext_backbones.CocoAP"


class ClassesHook(Hook):
    """Stops a run whose images and head do not tell the same classes apart."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Raises InputError where they differ."""
        train = runner.train_dataloader
        val = runner.val_dataloader if runner.val_loop else train
        each = runner.cfg.train_dataloader.batch_size
        if runner.cfg.model.type == SEGMENTER and each * runner.world_size < 2:
            raise InputError(
                f"train_dataloader.batch_size {each}: must be at least 2, since norms follow a "
                "batch, or those of all processes"
            )
        fit.check_classes(train, val, runner.cfg.model.num_classes)
        check_thin(train.dataset, runner.cfg.model)
        if is_main_process() and val is not train:
            learned, evaluated = (getattr(each.dataset, "paths", ()) for each in (train, val))
            warn_of_both(learned, evaluated, fit.log_warning)


def check_data(cfg: Config, mode: str) -> Sequence[str]:
    """Checks pixels, batch and images, or raises InputError; returns the names of the classes, and
    has the network tell as many apart if the config does not say how many.
    """
    given_pixels(cfg.model)
    split = "val" if mode == "train" else "test"
    loader, evaluator = cfg.get("test_dataloader"), cfg.get("test_evaluator")
    if mode == "train":
        loader = cfg.get("val_dataloader") or cfg.train_dataloader
        evaluator = cfg.get("val_evaluator") if cfg.get("val_dataloader") else None
    try:
        dataset = DATASETS.build(dict(loader["dataset"]))
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    if isinstance(dataset, instances.CocoInstances):
        for metric in dicts_with(evaluator, lambda d: bool(d.get("ann_file"))):
            truth = Path(metric["ann_file"])
            check_truth(f"{split}_evaluator.ann_file", truth, dataset.annotations)
    check_thin(dataset, cfg.model)
    classes = dataset.metainfo["classes"]
    if cfg.model.get("num_classes") is None:
        cfg.model.num_classes = len(classes)
    fit.check_count(classes, cfg.model.num_classes)
    return classes


def check_thin(dataset: Any, model: Mapping[str, Any]) -> None:
    """Raises InputError where a detector, which cuts sizes off, would leave nothing of an image."""
    listed = getattr(dataset, "annotations", None)
    if model["type"] == DETECTOR and listed is not None:
        shorter = model.get("min_size", 800)
        sides = [shorter] if isinstance(shorter, int) else shorter
        sizes = [(model.get("max_size", 1333), side) for side in sides]
        if not all(isinstance(side, int) for size in sizes for side in size):
            return  # the network's own checks name them
        check_aspect(listed.path, listed.images, sizes, least=CUT)


def begin(cfg: Config) -> Begin:
    """Checks that the checkpoint to resume, or the network of `load_from`, is the config's, all of
    it. InputError, WeightsError: it is another, or cannot be had or read.
    """
    first = of_run(cfg)
    if first is None and (source := cfg.get("load_from")):
        try:
            cfg.load_from = str(locate(source))
            content = read_checkpoint(cfg.load_from)
            meta = network.check_checkpoint(cfg.load_from, cfg, content)
            first = Begin(meta, f"{source} (all of the network)")
        except (InputError, FileNotFoundError) as error:
            alone = f"to begin with its backbone alone, give --weights {source} without load_from"
            raise InputError(f"load_from: {error}\n{alone}") from error
    if cfg.get("load_from"):
        if BEGAN_WITH in cfg:
            cfg[BEGAN_WITH]["model.backbone.weights"] = cfg.model.backbone.get("weights")
        cfg.model.backbone.weights = None  # the checkpoint has the whole network
    return first or Begin()


def found_in(runner: Any) -> dict[str, list[Annotations]]:
    """Returns what was found in the annotation files of a detector's data, by split."""
    loaders = {"train": runner.train_dataloader}
    if runner.val_loop:
        loaders["val"] = runner.val_dataloader
    found = {s: getattr(loader.dataset, "annotations", None) for s, loader in loaders.items()}
    return {split: [each] for split, each in found.items() if each is not None}


def read_checkpoint(path: str) -> Mapping[str, Any]:
    """Returns what a checkpoint holds, also one of this package's loop of before, and a state dict
    of torchvision's own network.
    """
    return translated(network.read_checkpoint(path))


def test_hooks(cfg: Config, show_dir: Path | None) -> Sequence[Hook]:
    """Returns the hooks of an evaluation; what a detector finds goes into the work directory."""
    if show_dir is not None:
        raise InputError("--show-dir: draws what MMDetection's detectors find; leave it out here")
    if cfg.model.type == DETECTOR:
        for metric in dicts_with(cfg.test_evaluator, lambda d: d.get("type") == COCO_AP):
            metric["out"] = metric.get("out") or str(Path(cfg.work_dir) / metrics.FOUND)
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
    annotations=found_in,
    read_checkpoint=read_checkpoint,
)
