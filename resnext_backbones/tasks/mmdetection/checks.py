"""Faults of a detector's data and categories are found before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config

from resnext_backbones.data.annotations import (
    Content,
    check_boxes,
    check_ids,
    check_images,
    find_annotations,
    read_coco,
)
from resnext_backbones.data.aspect import check_aspect, resized_to
from resnext_backbones.engine.config import dicts_with
from resnext_backbones.engine.processes import read_ranks
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.mmdetection.parts import check_model

LOADS = CocoDataset.load_data_list
"""Data sets that load as this does are of boxes in COCO's format."""

HEADS = ("bbox_head", "mask_head")
LOADERS = {"train": ("train_dataloader", "val_dataloader"), "test": ("test_dataloader",)}


def check_data(cfg: Config, mode: str) -> tuple[()]:
    """Checks the data sets of a mode, `train` or `test`, that are in COCO's format, and that the
    heads fit them, in one process of each host.

    Raises:
        InputError: a folder, annotation file or image is missing or wrong, or categories are not
            those of the config.
    """
    check_model(cfg)
    for loader in LOADERS[mode] if read_ranks(cfg.launcher)[2] == 0 else ():
        for dataset in dicts_with(cfg.get(loader), lambda d: "ann_file" in d):
            if dataset.get("backend_args") is None:
                _check_dataset(dataset, cfg.model, evaluated=loader != "train_dataloader")
    return ()


def _check_dataset(
    dataset: Mapping[str, Any], model: Mapping[str, Any], *, evaluated: bool
) -> None:
    root = Path(dataset.get("data_root") or ".")
    path = find_annotations(root, dataset["ann_file"])
    if path.suffix != ".json":
        return
    content = read_coco(path)
    if classes := classes_of(dataset, "classes"):
        names = {category["name"] for category in content["categories"]}
        if absent := [name for name in classes if name not in names]:
            raise InputError(
                f"annotation file {path}: its {len(names)} categories ({some(sorted(names))}) lack "
                f"{len(absent)} of the config's {len(classes)} classes: {some(absent)}; "
                "set metainfo.classes of the data sets, and num_classes of the heads"
            )
        check_heads(classes_of(dataset, "thing_classes") or classes, model)
        if getattr(DATASETS.get(dataset["type"]), "load_data_list", None) is LOADS:
            _check_order(path, content, classes)
            check_boxes(path, content)
            check_ids(path, content, evaluated=evaluated)
    check_images(path, content["images"], root / dataset.get("data_prefix", {}).get("img", ""))
    check_aspect(path, content["images"], resized_to(dataset.get("pipeline") or ()))


def _check_order(path: Path, content: Content, classes: tuple[str, ...]) -> None:
    """Checks that MMDetection, which numbers categories in the file's order, numbers them as the
    config does: pictures, and the other data set, would have other names.
    """
    listed = [c["name"] for c in content["categories"] if c["name"] in classes]
    if listed != list(classes):
        raise InputError(
            f"annotation file {path}: lists its categories in the order {some(listed)}, and the "
            f"config's classes are {some(list(classes))}; MMDetection numbers them as the file "
            "lists them: give metainfo.classes and all files one order, each name once"
        )


def classes_of(dataset: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Returns the names that a data set's config says, or else its class; () if neither does."""
    named = (dataset.get("metainfo") or {}).get(key)
    if named is None and not dataset.get("metainfo"):
        named = getattr(DATASETS.get(dataset["type"]), "METAINFO", {}).get(key)
    return tuple(named or ())


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
