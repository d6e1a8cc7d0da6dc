"""MMEngine's runner runs a config, once all that can be wrong was looked at."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

# They register what configs name; MMEngine reads files as this package does.
from resnext_backbones.adapters import mmengine as _reads_files  # noqa: F401
from resnext_backbones.engine import amp, groups, loop  # noqa: F401
from resnext_backbones.engine.checkpoints import (
    MissedValidationHook,
    find_checkpoint,
    newest_checkpoint,
)
from resnext_backbones.engine.config import dicts_with
from resnext_backbones.engine.curves import CurvesHook
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.hooks import EvaluatedHook, FiniteLossHook
from resnext_backbones.engine.norms import SYNCHRONISED, use_own
from resnext_backbones.engine.processes import agree, start_process_group
from resnext_backbones.engine.signals import requests
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.io import atomic_write_text
from resnext_backbones.weights.compare import COUNTER, MISSING, UNEXPECTED, Comparison, compare
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.identify import network_name

RESUMED = ("meta", "message_hub", "optimizer")
"""A checkpoint of a run holds these beside the weights."""

TRUNKS = ("backbone.body.", "backbone.", "network.")
"""Keys of a trunk begin so in torchvision's detectors, in others, and in a classifier."""


def train(cfg: Config, *hooks: Hook) -> Path:
    """Trains as a config says, with its hooks and these; returns the work directory, where
    checkpoints, logs and curves are. Raises InputError where an argument is wrong, or where
    processes found different checkpoints.
    """
    with requests.listening(), said(cfg.work_dir):
        runner = build_runner(cfg, "train_loop", "val_loop")
        agree(cfg.get("load_from") or "", f"work directory {cfg.work_dir}")
        for hook in (*hooks, FiniteLossHook(), CurvesHook(), MissedValidationHook()):
            if type(hook) not in map(type, runner.hooks):  # a config may name one as well
                runner.register_hook(hook)
        runner.train()
    return Path(cfg.work_dir)


def evaluate(
    cfg: Config,
    checkpoint: str,
    out: Path,
    table: Callable[[Mapping[str, float]], str],
    *hooks: Hook,
) -> dict[str, float]:
    """Evaluates a checkpoint on the config's test data, with its hooks and these, and returns the
    metrics, which are written as JSON to `out`, and beside it as a table, which is printed too.
    """
    runner = build_runner(cfg, "test_loop")
    for hook in (*hooks, EvaluatedHook(checkpoint)):
        runner.register_hook(hook)
    # Loaded once hooks are ready, as in training: one may hold averaged weights.
    runner._load_from, runner._resume = checkpoint, False
    with requests.listening(), said(cfg.work_dir):
        metrics = runner.test()
    if is_main_process():
        text = table(metrics)
        atomic_write_text(
            out, json.dumps({"checkpoint": str(checkpoint), **metrics}, indent=2) + "\n"
        )
        atomic_write_text(out.with_suffix(".txt"), text)
        print(text)
    return metrics


def build_runner(cfg: Config, *loops: str) -> Runner:
    """Returns MMEngine's runner, with the data sets of some of its loops. MMEngine builds them
    late, where an argument that is wrong, which is an InputError, could not be told from a fault.
    """
    start_process_group(cfg)
    if not torch.cuda.is_available():
        use_own(dicts_with(cfg.model, lambda d: d.get("type") in SYNCHRONISED))
    try:
        runner = Runner.from_cfg(cfg)
        for loop in loops:
            getattr(runner, loop)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error
    return runner


def resume(cfg: Config) -> dict[str, Any]:
    """Finds and checks the checkpoint that a config is to go on from, if it is to; returns what it
    says of its run, or nothing. Errors are those of `check_checkpoint`.
    """
    checkpoint = cfg.get("resume") and (cfg.load_from or newest_checkpoint(cfg.work_dir))
    if not checkpoint:
        return {}
    checkpoint = find_checkpoint(str(checkpoint))
    meta = check_checkpoint(checkpoint, cfg, to_resume=True)
    cfg.load_from = checkpoint
    return meta


def read_checkpoint(path: str | Path, what: str = "checkpoint") -> Mapping[str, Any]:
    """Returns what a checkpoint holds; raises InputError where there is no such file, and
    WeightsError where it cannot be read.

    Args:
        what: it is called in the message.
    """
    if not Path(path).is_file():
        raise InputError(f"{what} {path}: there is no such file")
    return read_file(path)


def check_checkpoint(
    path: str | Path,
    cfg: Config,
    content: Mapping[str, Any] | None = None,
    *,
    to_resume: bool = False,
) -> dict[str, Any]:
    """Returns what a checkpoint says of its run: MMEngine's `meta`, nothing where it has none.

    Raises InputError where there is no such file, or where it is another network's, before anything
    is written. MMEngine loads what fits and logs the rest; a test or a resumed run wants all of it.

    Args:
        content: of the checkpoint; None reads it, or raises WeightsError.
        to_resume: it must hold the optimiser's state and the progress as well.
    """
    if content is None:
        content = read_checkpoint(path)
    if to_resume and (absent := [key for key in RESUMED if key not in content]):
        raise InputError(
            f"checkpoint {path}: has no {', '.join(absent)}, so it cannot be resumed; a new run "
            f"can begin from its weights: --weights {path}"
        )
    found, held, network = differences(path, content, build_on_meta(cfg))
    if found:
        raise InputError(found.message(f"checkpoint {path}", held, network))
    return content.get("meta") or {}


def differences(
    path: str | Path, content: Mapping[str, Any], model: nn.Module
) -> tuple[Comparison, str, str]:
    """Returns how a checkpoint's tensors differ from those of a model on the meta device, and the
    networks that both hold; raises InputError where it holds no mapping of tensors.
    """
    tensors = content.get("state_dict", content)
    if not isinstance(tensors, Mapping):
        raise InputError(f"checkpoint {path}: its state_dict is a {type(tensors).__name__}")
    state = {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k not in own or own[k].shape == v.shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that copying to the meta device copies nothing
        result = model.load_state_dict(fitting, strict=False)
    # A module may read keys by other names: what it misses is what it says.
    absent = [k for k in result.missing_keys if k not in state and not k.endswith(COUNTER)]
    found = compare(state, own)
    spare = [k for k in result.unexpected_keys if not k.endswith(COUNTER)]
    found |= {MISSING: absent, UNEXPECTED: spare}
    return found, network_name(_trunk(state)), network_name(_trunk(own))


def build_on_meta(cfg: Config) -> nn.Module:
    """Returns the config's model without memory for its weights, or raises InputError."""
    init_default_scope(cfg.get("default_scope", "mmengine"))
    try:
        with torch.device("meta"):
            return MODELS.build(cfg.model)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error


def _trunk(state: Mapping[str, Any]) -> dict[str, Any]:
    parts = ((key.partition(marker), value) for key, value in state.items() for marker in TRUNKS)
    return {name: value for (_, marker, name), value in parts if marker}
