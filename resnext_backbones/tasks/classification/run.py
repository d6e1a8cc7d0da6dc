"""Pretraining runs from a config to weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config

from resnext_backbones.engine import runner
from resnext_backbones.engine.begin import begin
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification import (  # noqa: F401
    evaluation,
    hooks,
    model,
    publish,
    transforms,
)

PATHS = ("root", "urls", "sizes", "class_list", "ground_truth", "ground_truth_classes")
"""A data set names files and folders by these."""


def pretrain(cfg: Config) -> Path:
    """Trains a classifier as a config says; returns the work directory, where all output goes.
    Raises InputError where the data, an argument or the checkpoint to resume is wrong.
    """
    with runner.watched(cfg):
        check_run(cfg, "train")
        runner.start(cfg, runner.FOR_TRAINING)
        first = begin(cfg)
        for problem in first.problems:
            raise InputError(problem)
    epochs, schedules = cfg.train_cfg.get("max_epochs"), cfg.get("param_scheduler")
    if epochs is not None and isinstance(schedules, list):
        # A run that is over before a schedule begins has none of it.
        cfg.param_scheduler = [s for s in schedules if _is_needed(s, epochs)]
    return runner.train(cfg, hooks.PretrainingReportHook(first.loaded, first.left))


def _is_needed(schedule: Mapping[str, Any], epochs: int) -> bool:
    return "end" in schedule or schedule.get("begin", 0) < epochs


def set_data_root(cfg: Config, root: str) -> None:
    """Puts another folder than the config's `data_root` in front of all paths of its data sets.
    InputError: none of those that are trained on begins with it, so that others would be read.
    """
    old, moved = cfg.get("data_root"), []
    for part in ("train", "val"):
        dataset = (cfg.get(f"{part}_dataloader") or {}).get("dataset") or {}
        for key in PATHS:
            path = dataset.get(key)
            if old and isinstance(path, str) and path.startswith(old):
                dataset[key] = root + path.removeprefix(old)
                moved.append(part)
    if "train" not in moved:
        raise InputError(
            f"--data-root {root}: no path of train_dataloader.dataset begins with the config's "
            f"data_root, {old}; set its paths with --cfg-options"
        )
    cfg.data_root = root
