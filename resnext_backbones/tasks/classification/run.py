"""Pretraining runs from a config to weights."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine.config import Config

from resnext_backbones.engine import runner
from resnext_backbones.engine.begin import averages_weights, begin
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.engine.config import check_parts
from resnext_backbones.engine.fit import given_pixels, log_warning
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.engine.written import unlike_its_run
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification import (  # noqa: F401
    evaluation,
    hooks,
    model,
    publish,
    transforms,
)

IMAGES = ("root", "urls")
BESIDE = ("sizes", "class_list", "ground_truth", "ground_truth_classes")
"""A data set names by these where its images are, and files that it reads beside them."""


def pretrain(cfg: Config) -> Path:
    """Trains a classifier as a config says; returns the work directory, where all output goes.
    Raises InputError where the data, an argument or the checkpoint to resume is wrong.
    """
    check_parts(cfg, "pretraining")
    with runner.watched(cfg):
        check_run(cfg, "train")
        runner.start(cfg, runner.FOR_TRAINING)
        with runner.alone_in(cfg):
            first = begin(cfg)
            name, to_resume = str(cfg.get("load_from")), bool(cfg.get("resume"))
            unlike = unlike_its_run(cfg.model, name, first.meta, given, to_resume=to_resume)
            for problem in chain(first.problems, unlike):
                raise InputError(problem)
            epochs, schedules = cfg.train_cfg.get("max_epochs"), cfg.get("param_scheduler")
            if epochs is not None and isinstance(schedules, list):
                # A run that is over before a schedule begins has none of it.
                cfg.param_scheduler = [s for s in schedules if _is_needed(s, epochs)]
            if epochs is not None:
                _leave_out_averages(cfg, epochs)
            meta = first.meta if to_resume else None
            return runner.train(cfg, hooks.PretrainingReportHook(first.loaded, first.left, meta))


def given(classifier: Mapping[str, Any], *, to_resume: bool) -> dict[str, Any]:  # noqa: ARG001
    """Returns what of a config must be as it was in the run that a checkpoint is of."""
    return {"pixels": given_pixels(classifier, "RGB")}


def _leave_out_averages(cfg: Config, epochs: int) -> None:
    """Takes out what would begin to average weights once the run is over, which MMEngine refuses;
    and says so.
    """
    hooks = cfg.get("custom_hooks") or []
    late = [h for h in hooks if averages_weights(h) and h.get("begin_epoch", 0) > epochs]
    for hook in late:
        log_warning(
            f"EMAHook: begins at epoch {hook['begin_epoch']} of {epochs}, so no weights are "
            "averaged; set its begin_epoch with custom_hooks"
        )
    cfg.custom_hooks = [hook for hook in hooks if hook not in late]


def _is_needed(schedule: Mapping[str, Any], epochs: int) -> bool:
    return "end" in schedule or schedule.get("begin", 0) < epochs


def set_data_root(cfg: Config, root: str) -> None:
    """Puts another folder than the config's `data_root` in front of all paths of its data sets.
    InputError: no images that are trained on lie in it, so that others would be read; those at
    addresses stay, where it is for the images of the evaluation.
    """
    old = cfg.get("data_root") or ""
    moved: list[tuple[str, Any]] = []
    left: list[tuple[str, Any]] = []
    for part in ("train", "val"):
        sets = (cfg.get(f"{part}_dataloader") or {}).get("dataset")
        for dataset in list(dicts_with(sets, lambda d: any(d.get(key) for key in IMAGES))):
            for key in (*IMAGES, *BESIDE):
                if given := dataset.get(key):
                    dataset[key] = _moved(given, old, root)
                    if key in IMAGES:
                        (moved if _lies_in(given, old) else left).append((part, given))
    near = [given for part, given in left if part == "train" and "://" not in str(given)]
    if not moved or (near and "train" not in dict(moved)):
        raise InputError(
            f"--data-root {root}: no images of train_dataloader lie in the config's data_root, "
            f"{old}; set their paths with --cfg-options"
        )
    cfg.data_root = root


def _moved(paths: Any, old: str, new: str) -> Any:
    """Returns a path, or a list of them, with another folder in front where it lies in `old`."""
    if isinstance(paths, list | tuple):
        return [_moved(path, old, new) for path in paths]
    if not _lies_in(paths, old):
        return paths
    return "/".join((new.rstrip("/"), *PurePath(paths).relative_to(old).parts))


def _lies_in(paths: Any, folder: str) -> bool:
    if isinstance(paths, list | tuple):
        return any(_lies_in(path, folder) for path in paths)
    return bool(folder) and isinstance(paths, str) and PurePath(paths).is_relative_to(folder)
