"""What is looked at before anything is built: data, categories, checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from resnext_backbones.detection.annotations import check_images, read_coco
from resnext_backbones.runs.config import dicts_with
from resnext_backbones.runs.errors import BUILD_ERRORS, InputError, some
from resnext_backbones.weights.checkpoint import variant_of
from resnext_backbones.weights.files import read_file

HEADS = ("bbox_head", "mask_head")
RESUMED = ("meta", "message_hub", "optimizer")
LOADERS = {"train": ("train_dataloader", "val_dataloader"), "test": ("test_dataloader",)}


def check_data(cfg: Config, mode: str) -> None:
    """Check the data sets of a config in COCO's format, and that the heads fit them.

    Args:
        mode: `train` or `test`.

    Raises:
        InputError: a data root, annotation file or image is missing, an annotation file is not
            in COCO's format, or its categories are not those of the config.
    """
    for loader in LOADERS[mode]:
        for dataset in dicts_with(cfg.get(loader), lambda d: "ann_file" in d):
            if dataset.get("backend_args") is None:
                _check_dataset(dataset, cfg.model)


def _check_dataset(dataset: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    root = Path(dataset.get("data_root") or ".")
    if not root.is_dir():
        raise InputError(
            f"data root {root}: there is no such folder. The configs of this package take it from "
            "COCO_ROOT, which names the folder with annotations/, train2017/ and val2017/; others "
            "have it as `data_root` in each data set"
        )
    path = root / dataset["ann_file"]
    if not path.is_file():
        raise InputError(f"annotation file {path}: there is no such file")
    if path.suffix != ".json":
        return
    content = read_coco(path)
    classes, things = _classes(dataset, "classes"), _classes(dataset, "thing_classes")
    if classes:
        _check_categories(path, content["categories"], classes)
        _check_heads(things or classes, model)
    folder = root / dataset.get("data_prefix", {}).get("img", "")
    check_images(path, content["images"], folder)


def _classes(dataset: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """What the data set's config says, or else what its class does."""
    named = (dataset.get("metainfo") or {}).get(key)
    if named is None and not dataset.get("metainfo"):
        named = getattr(DATASETS.get(dataset["type"]), "METAINFO", {}).get(key)
    return tuple(named or ())


def _check_categories(
    path: Path,
    categories: list[dict[str, Any]],
    classes: tuple[str, ...],
) -> None:
    names = {category["name"] for category in categories}
    if absent := [name for name in classes if name not in names]:
        raise InputError(
            f"annotation file {path}: its {len(names)} categories ({some(sorted(names))}) lack "
            f"{len(absent)} of the config's {len(classes)} classes: {some(absent)}; "
            "set metainfo.classes of the data sets, and num_classes of the heads"
        )


def _check_heads(classes: tuple[str, ...], model: Mapping[str, Any]) -> None:
    """The heads that tell classes apart; others, as for stuff or proposals, count otherwise."""
    roi_head = model.get("roi_head") or {}
    for part in (model, roi_head):
        for head in dicts_with([part.get(name) for name in HEADS], lambda d: "num_classes" in d):
            if head["num_classes"] != len(classes):
                raise InputError(
                    f"{head['type']} has num_classes={head['num_classes']}, but the data set has "
                    f"{len(classes)} classes ({some(classes)}); set num_classes to {len(classes)}"
                )


def check_checkpoint(path: str | Path, cfg: Config, *, to_resume: bool = False) -> None:
    """Check that a checkpoint is of the config's very detector, key by key.

    MMEngine loads what fits and logs the rest; a test or a resumed run wants all of it. Nothing
    is written before this is known.

    Args:
        to_resume: the checkpoint must hold the optimiser's state and the progress as well.

    Raises:
        InputError: there is no such file, or it is another detector's.
        WeightsError: it cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path}: there is no such file")
    content = read_file(path)
    if to_resume and (absent := [key for key in RESUMED if key not in content]):
        raise InputError(f"checkpoint {path}: has no {', '.join(absent)}, so is none of a run")
    state = {k.removeprefix("module."): v for k, v in content.get("state_dict", content).items()}
    model = build_on_meta(cfg)
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k not in own or own[k].shape == v.shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that copying to the meta device copies nothing
        result = model.load_state_dict(fitting, strict=False)
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if wrong := sorted([*missing, *result.unexpected_keys]):
        held, wanted = (variant_of(_backbone(s)) or "no ResNeXt" for s in (state, own))
        raise InputError(
            f"checkpoint {path}: its backbone is {held} and the config's is {wanted}; "
            f"{len(wrong)} tensors do not fit: {some(wrong)}"
        )


def build_on_meta(cfg: Config) -> nn.Module:
    """The config's detector without memory for its weights.

    Raises:
        InputError: the config does not build.
    """
    init_default_scope(cfg.get("default_scope", "mmdet"))
    try:
        with torch.device("meta"):
            return MODELS.build(cfg.model)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error


def _backbone(state: Mapping[str, Any]) -> dict[str, Any]:
    marker = "backbone."
    return {k.split(marker, 1)[1]: v for k, v in state.items() if marker in k}
