"""Faults of a detector's data and categories are found before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import resnext_backbones.tasks.mmdetection.quiet  # noqa: F401

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config

from resnext_backbones.data.annotations import Annotations, check_classes, find_annotations
from resnext_backbones.data.aspect import check_aspect
from resnext_backbones.data.between import (
    check_learned,
    check_same_names,
    check_truth,
    warn_of_both,
)
from resnext_backbones.data.coco_file import read_content
from resnext_backbones.data.image_check import check_images
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.engine.processes import read_ranks
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.mmdetection.annotations import (
    Source,
    classes_are_set,
    classes_of,
    datasets_of,
    images_of,
    in_coco_format,
    metrics_of,
    name_truth,
    sources_of,
)
from resnext_backbones.tasks.mmdetection.completed import class_of
from resnext_backbones.tasks.mmdetection.parts import check_model
from resnext_backbones.tasks.mmdetection.sizes import resized_to

HEADS = ("bbox_head", "mask_head")
SPLITS = {"train": ("train", "val"), "test": ("test",)}
PARTS = ("dataloader", "evaluator")
"""Each mode reads the data of these splits, by these parts of a config."""


def check_data(cfg: Config, mode: str) -> Sequence[str]:
    """Checks the data sets of a mode, `train` or `test`, that are in COCO's format, the metrics'
    ground truth, and that the heads fit them, in one process of each host; returns the classes.

    Raises:
        InputError: a folder, annotation file or image is missing or wrong, or categories are not
            those of the config.
    """
    check_model(cfg)
    loaders = {split: cfg.get(f"{split}_dataloader") for split in SPLITS[mode]}
    named = {
        f"{split}_dataloader, {dataset['ann_file']}": classes_of(dataset)
        for split, loader in loaders.items()
        for dataset in datasets_of(loader)
    }
    for split in SPLITS[mode]:
        name_truth(*(cfg.get(f"{split}_{part}") for part in PARTS))
    if read_ranks(cfg.launcher)[2] == 0:
        so = "a detector numbers them in one order: give metainfo.classes of all data sets that one"
        check_same_names(named, so)
        images = {split: _check_split(cfg, split) for split in SPLITS[mode]}
        warn_of_both(images.get("train", ()), images.get("val", ()), log_warning)
    return next(iter(named.values()), ())


def _check_split(cfg: Config, split: str) -> list[Path]:
    """Checks the data sets of a loader; returns the paths of their images."""
    loader, evaluator = (cfg.get(f"{split}_{part}") for part in PARTS)
    sources = list(sources_of(loader, evaluator, train=split == "train"))
    read = [_check_source(source, cfg.model) for source in sources]
    check_learned(read)
    for dataset in datasets_of(loader):
        if not in_coco_format(dataset):
            _check_other(dataset, cfg.model)
    for metric in metrics_of(evaluator):
        _check_truth(f"{split}_evaluator", metric, read)
    return [
        source.folder / image["file_name"]
        for source, found in zip(sources, read, strict=True)
        for image in found.images
    ]


def _check_source(source: Source, model: Mapping[str, Any]) -> Annotations:
    found = source.read()
    classes = classes_of(source.dataset)
    if classes:
        check_heads(classes, model)
        _check_objects(found, classes)
    check_images(found.path, found.images, source.folder)
    check_aspect(found.path, found.images, resized_to(source.dataset.get("pipeline") or ()))
    return found


def _check_objects(found: Annotations, classes: Sequence[str]) -> None:
    """Tells which categories of a file are left out, since the config's classes are others."""
    objects = {name: count for name, count in found.summary["categories"] if count}
    unused = [f"{name} ({count} objects)" for name, count in objects.items() if name not in classes]
    if not unused:
        return
    if len(unused) == len(objects):
        raise InputError(
            f"annotation file {found.path}: all objects are of other categories than the config's "
            f"classes ({some(classes)}): {some(unused)}; set metainfo.classes of the data sets"
        )
    log_warning(
        f"annotation file {found.path}: categories that are not among the config's classes are "
        f"left out: {some(unused)}"
    )


def _check_other(dataset: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Checks files that others of MMDetection's data sets read, as those of panoptic segmentation,
    for their names and images.
    """
    path = find_annotations(Path(dataset.get("data_root") or "."), dataset["ann_file"])
    kind: Any = class_of(dataset, DATASETS)
    if path.suffix != ".json" or not hasattr(kind, "COCOAPI"):
        return
    content = read_content(path)
    if classes := classes_of(dataset):
        with classes_are_set():
            check_classes(path, [str(c.get("name")) for c in content["categories"]], classes)
        check_heads(classes_of(dataset, "thing_classes") or classes, model)
    if kind.load_data_list is CocoDataset.load_data_list:
        # Others, as of Objects365, look for images under names that they make of these.
        check_images(path, content["images"], images_of(dataset))
    check_aspect(path, content["images"], resized_to(dataset.get("pipeline") or ()))


def _check_truth(name: str, metric: Mapping[str, Any], read: Sequence[Annotations]) -> None:
    """Checks that a metric's ground truth is that of the images that its loader shows."""
    path = metric.get("ann_file")
    if path is None:
        raise InputError(f"{name}: {metric['type']} has no ann_file; name the ground truth")
    if len(read) == 1:
        check_truth(f"{name}.ann_file", Path(path), read[0])
    elif not Path(path).is_file():
        raise InputError(f"{name}.ann_file {path}: there is no such file; name the ground truth")


def check_heads(classes: tuple[str, ...], model: Mapping[str, Any]) -> None:
    """Checks the heads that tell classes apart, or raises InputError; others, as for stuff or
    proposals, count otherwise.
    """
    for part in (model, model.get("roi_head") or {}):
        for head in dicts_with([part.get(name) for name in HEADS], lambda d: "num_classes" in d):
            if head["num_classes"] != len(classes):
                raise InputError(
                    f"{head['type']} has num_classes={head['num_classes']}, but the data set has "
                    f"{len(classes)} classes ({some(classes)}); set num_classes to {len(classes)}"
                )
