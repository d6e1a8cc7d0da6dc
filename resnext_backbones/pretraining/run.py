"""Pretraining, from a config to weights."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from resnext_backbones.pretraining import (  # noqa: F401
    data,
    evaluation,
    hooks,
    model,
    publish,
    samplers,
    shards,
    transforms,
)
from resnext_backbones.runs.checkpoints import MissedValidationHook, newest_checkpoint
from resnext_backbones.runs.curves import CurvesHook
from resnext_backbones.runs.environment import start_process_group
from resnext_backbones.runs.errors import BUILD_ERRORS, InputError
from resnext_backbones.weights.files import read_file


def pretrain(cfg: Config) -> Path:
    """Train a classifier as a config says; all output goes to its work directory.

    Returns:
        The work directory.

    Raises:
        InputError: the data, an argument or the checkpoint to resume is wrong.
        WeightsError: the checkpoint cannot be read.
    """
    if cfg.get("resume") and (checkpoint := cfg.load_from or newest_checkpoint(cfg.work_dir)):
        if not Path(checkpoint).is_file():
            raise InputError(f"checkpoint {checkpoint}: there is no such file")
        read_file(checkpoint)  # which is to run no code
        cfg.load_from = str(checkpoint)
    start_process_group(cfg)
    try:
        runner = Runner.from_cfg(cfg)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    runner.register_hook(hooks.ClassesHook())
    runner.register_hook(CurvesHook())
    runner.register_hook(MissedValidationHook())
    runner.train()
    return Path(cfg.work_dir)


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
