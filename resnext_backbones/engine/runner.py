"""From a config to a run on MMEngine's runner, with all that can be wrong looked at before it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from resnext_backbones.engine.checkpoints import MissedValidationHook, newest_checkpoint
from resnext_backbones.engine.config import dicts_with
from resnext_backbones.engine.curves import CurvesHook
from resnext_backbones.engine.losses import FiniteLossHook
from resnext_backbones.engine.norms import SYNCHRONISED, use_own
from resnext_backbones.engine.processes import agree, start_process_group
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.weights.compare import COUNTER, MISSING, UNEXPECTED, compare
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.identify import network_name

RESUMED = ("meta", "message_hub", "optimizer")
"""What a checkpoint of a run holds beside the weights."""

TRUNKS = ("backbone.body.", "backbone.", "network.")
"""What keys of a trunk begin with: in torchvision's detectors, in others, in a classifier."""


def train(cfg: Config, *hooks: Hook) -> Path:
    """Train as a config says; checkpoints, logs and curves go to its work directory.

    Args:
        hooks: beside those of the config.

    Returns:
        The work directory.

    Raises:
        InputError: an argument is wrong, or processes found different checkpoints.
    """
    runner = build_runner(cfg, "train_loop", "val_loop")
    agree(cfg.get("load_from") or "", f"work directory {cfg.work_dir}")
    for hook in (*hooks, FiniteLossHook(), CurvesHook(), MissedValidationHook()):
        if type(hook) not in map(type, runner.hooks):  # a config may name one as well
            runner.register_hook(hook)
    runner.train()
    return Path(cfg.work_dir)


def build_runner(cfg: Config, *loops: str) -> Runner:
    """MMEngine's runner, with its data sets.

    Args:
        loops: which of its loops are built now. MMEngine builds them late, where what is wrong with
            a data set could not be told from a fault.

    Raises:
        InputError: an argument of the config is wrong.
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
    """Find the checkpoint that a config is to go on from, if it is to, and check it.

    Returns:
        What the checkpoint says of its run; nothing where there is none.

    Raises:
        InputError: there is none at the path that is given, or it is none of such a run.
        WeightsError: it cannot be read.
    """
    checkpoint = cfg.get("resume") and (cfg.load_from or newest_checkpoint(cfg.work_dir))
    if not checkpoint:
        return {}
    meta = check_checkpoint(checkpoint, cfg, to_resume=True)
    cfg.load_from = str(checkpoint)
    return meta


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Returns what a checkpoint holds.

    Raises:
        InputError: there is no such file.
        WeightsError: it cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path}: there is no such file")
    return read_file(path)


def check_checkpoint(
    path: str | Path,
    cfg: Config,
    content: Mapping[str, Any] | None = None,
    *,
    to_resume: bool = False,
) -> dict[str, Any]:
    """Check that a checkpoint is of the config's very network, key by key.

    MMEngine loads what fits and logs the rest; a test or a resumed run wants all of it. Nothing
    is written before this is known.

    Args:
        content: of the checkpoint; None reads it.
        to_resume: the checkpoint must hold the optimiser's state and the progress as well.

    Returns:
        What it says of its run: MMEngine's `meta`, nothing where it has none.

    Raises:
        InputError: there is no such file, or it is another network's.
        WeightsError: it cannot be read.
    """
    if content is None:
        content = read_checkpoint(path)
    if to_resume and (absent := [key for key in RESUMED if key not in content]):
        raise InputError(
            f"checkpoint {path}: has no {', '.join(absent)}, so it cannot be resumed; a new run "
            f"can begin from its weights: --weights {path}"
        )
    tensors = content.get("state_dict", content)
    if not isinstance(tensors, Mapping):
        raise InputError(f"checkpoint {path}: its state_dict is a {type(tensors).__name__}")
    state = {
        key.removeprefix("module."): value
        for key, value in tensors.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    model = build_on_meta(cfg)
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k not in own or own[k].shape == v.shape}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that copying to the meta device copies nothing
        result = model.load_state_dict(fitting, strict=False)
    # A module may read keys by other names: what it misses is what it says.
    absent = [k for k in result.missing_keys if k not in state and not k.endswith(COUNTER)]
    found = compare(state, own)
    found |= {MISSING: absent, UNEXPECTED: result.unexpected_keys}
    if found:
        held, network = (network_name(_trunk(each)) for each in (state, own))
        raise InputError(found.message(f"checkpoint {path}", held, network))
    return content.get("meta") or {}


def build_on_meta(cfg: Config) -> nn.Module:
    """The config's model without memory for its weights.

    Raises:
        InputError: the config does not build.
    """
    init_default_scope(cfg.get("default_scope", "mmengine"))
    try:
        with torch.device("meta"):
            return MODELS.build(cfg.model)
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error


def _trunk(state: Mapping[str, Any]) -> dict[str, Any]:
    parts = ((key.partition(marker), value) for key, value in state.items() for marker in TRUNKS)
    return {name: value for (_, marker, name), value in parts if marker}
