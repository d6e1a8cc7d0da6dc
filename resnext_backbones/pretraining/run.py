"""Pretraining, from a config to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from resnext_backbones.pretraining import (  # noqa: F401
    data,
    evaluation,
    hooks,
    model,
    publish,
    samplers,
    transforms,
)
from resnext_backbones.runs.checkpoints import newest_checkpoint
from resnext_backbones.runs.curves import CurvesHook
from resnext_backbones.runs.environment import read_ranks, start_process_group
from resnext_backbones.runs.errors import InputError
from resnext_backbones.weights.files import read_file


def pretrain(cfg: Config) -> Path:
    """Train a classifier as a config says; all output goes to its work directory.

    Returns:
        The work directory.

    Raises:
        InputError: the data, an argument or the checkpoint to resume is wrong.
        WeightsError: the checkpoint cannot be read.
    """
    if read_ranks(cfg.launcher)[0] == 0:
        check_data(cfg)
    if cfg.get("resume") and (checkpoint := cfg.load_from or newest_checkpoint(cfg.work_dir)):
        read_file(checkpoint)  # which is to run no code
        cfg.load_from = str(checkpoint)
    start_process_group(cfg)
    try:
        runner = Runner.from_cfg(cfg)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    runner.register_hook(CurvesHook())
    runner.train()
    return Path(cfg.work_dir)


def check_data(cfg: Config) -> None:
    """That the images are there, and that training and evaluation have the classes of the head.

    Raises:
        InputError: they are not.
    """
    train, val = (_classes(cfg[f"{part}_dataloader"].dataset) for part in ("train", "val"))
    if train != val:
        lost = sorted(set(train) ^ set(val)) or "the same ones in another order"
        raise InputError(f"the images to train on and to evaluate with differ in classes: {lost}")
    if len(train) != cfg.model.num_classes:
        raise InputError(
            f"the images have {len(train)} classes, and model.num_classes is "
            f"{cfg.model.num_classes}; set it with --cfg-options"
        )


def _classes(dataset: Any) -> tuple[str, ...]:
    return DATASETS.build(dict(dataset)).metainfo["classes"]


def set_data_root(cfg: Config, root: str) -> None:
    """Read the images of both parts from another folder than the config's.

    Args:
        root: in place of the config's `data_root`.
    """
    for part in ("train", "val"):
        dataset = cfg[f"{part}_dataloader"].dataset
        for key in ("root", "class_list", "ground_truth"):
            if dataset.get(key, "").startswith(cfg.data_root):
                dataset[key] = root + dataset[key].removeprefix(cfg.data_root)
    cfg.data_root = root
