"""MMEngine's runner runs a config, once all that can be wrong was looked at."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, distributed, nn

# They register what configs name; MMEngine reads files as this package does.
from resnext_backbones.adapters import mmengine as _reads_files  # noqa: F401
from resnext_backbones.engine import amp, groups, hosts, loop  # noqa: F401
from resnext_backbones.engine.alike import facts_of
from resnext_backbones.engine.checked_runner import CheckedRunner, build_errors_named
from resnext_backbones.engine.checkpoints import (
    MissedValidationHook,
    SavedStatisticsHook,
    enter,
    find_checkpoint,
    newest_checkpoint,
    read_journal,
)
from resnext_backbones.engine.config import dicts_with
from resnext_backbones.engine.curves import CurvesHook
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.handover import Offer, settle
from resnext_backbones.engine.hooks import EvaluatedHook, FiniteLossHook
from resnext_backbones.engine.memory import (
    evaluation_options,
    less_memory_named,
    training_options,
)
from resnext_backbones.engine.norms import SYNCHRONISED, use_own
from resnext_backbones.engine.processes import start_process_group
from resnext_backbones.engine.resumed import ResumedSettingsHook
from resnext_backbones.engine.signals import requests
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text, json_text
from resnext_backbones.weights.compare import COUNTER, MISSING, UNEXPECTED, Comparison, compare
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.identify import network_name

FOR_TRAINING, FOR_TESTS = ("train_dataloader", "val_dataloader"), ("test_dataloader",)
"""These loaders are read."""

RESUMED = ("meta", "message_hub", "optimizer")
"""A checkpoint of a run holds these beside the weights."""

TRUNKS = ("backbone.body.", "backbone.", "network.")
"""Keys of a trunk begin so in torchvision's detectors, in others, and in a classifier."""


def train(cfg: Config, *hooks: Hook) -> Path:
    """Trains as a config says, with its hooks and these; returns the work directory, where
    checkpoints, logs and curves are. Raises InputError where an argument is wrong.
    """
    with watched(cfg):
        start(cfg, FOR_TRAINING)
        runner = build_runner(cfg, "train_loop", "val_loop")
        added = (
            FiniteLossHook(),
            ResumedSettingsHook(),
            CurvesHook(),
            SavedStatisticsHook(),
            MissedValidationHook(),
        )
        for hook in (*hooks, *added):
            if type(hook) not in map(type, runner.hooks):  # a config may name one as well
                runner.register_hook(hook)
        with less_memory_named(lambda: _less_memory(runner, "val")):
            runner.train()
    return Path(cfg.work_dir)


def _less_memory(runner: CheckedRunner, split: str) -> Iterator[str]:
    """Yields what takes less memory than the step that a run was in."""
    if runner.model.training:
        return training_options(runner.cfg)
    return evaluation_options(runner.cfg, split)


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
    with watched(cfg):
        start(cfg, FOR_TESTS, checkpoint)
        runner = build_runner(cfg, "test_loop")
        for hook in (*hooks, EvaluatedHook(checkpoint)):
            runner.register_hook(hook)
        # Loaded once hooks are ready, as in training: one may hold averaged weights.
        runner._load_from, runner._resume = checkpoint, False
        with less_memory_named(lambda: _less_memory(runner, "test")):
            metrics = runner.test()
    if is_main_process():
        text = table(metrics)
        atomic_write_text(out, json_text({"checkpoint": str(checkpoint), **metrics}, indent=2))
        atomic_write_text(out.with_suffix(".txt"), text)
        print(text)
    return metrics


@contextmanager
def watched(cfg: Config) -> Iterator[None]:
    """Takes requests to end, and says in one message what comes over a run from outside."""
    with requests.listening(), said(cfg.work_dir):
        yield


def start(cfg: Config, loaders: tuple[str, ...], checkpoint: str = "") -> None:
    """Joins the processes of a run, once they are alike; errors as of `start_process_group`.

    Args:
        loaders: names of those whose data sets are to be alike.
        checkpoint: that is evaluated, if one is; the hosts are to have the same.
    """

    def facts(leads: bool) -> dict[str, str]:
        return facts_of(cfg, loaders, leads=leads, checkpoint=checkpoint)

    start_process_group(cfg, facts)
    if hosts.are_several():
        for name in ("val_evaluator", "test_evaluator"):
            for metric in dicts_with(cfg.get(name), lambda d: "type" in d):
                # MMEngine's default is a folder that all processes see.
                metric.setdefault("collect_device", "gpu")
    if cfg.launcher != "none" and not distributed.is_initialized():
        init_dist("pytorch", **cfg.env_cfg.dist_cfg)  # whose variables every launcher's became


def build_runner(cfg: Config, *loops: str) -> CheckedRunner:
    """Returns MMEngine's runner, with the data sets of some of its loops. MMEngine builds them
    late, where an argument that is wrong, which is an InputError, could not be told from a fault.
    """
    if not torch.cuda.is_available():
        use_own(dicts_with(cfg.model, lambda d: d.get("type") in SYNCHRONISED))
    with build_errors_named(cfg):
        runner = CheckedRunner.from_cfg(cfg)
        for loop in loops:
            getattr(runner, loop)
    for loop in loops:
        if getattr(runner, loop) is not None:
            _check_images(getattr(runner, loop).dataloader, loop.removesuffix("_loop"))
    return runner


def _check_images(loader: Any, split: str) -> None:
    """Raises InputError where there is no image, or where no batch is full and only such count. A
    process without images of its own is none of these.
    """
    try:
        images, batches = len(loader.dataset), len(loader)
    except TypeError:  # of a stream
        return
    # An endless sampler fills its batches from few images.
    is_endless = "Infinite" in type(getattr(loader, "sampler", None)).__name__ or (
        "Infinite" in type(getattr(loader.batch_sampler, "sampler", None)).__name__
    )
    if not images or (split == "train" and not batches and not is_endless):
        raise InputError(
            f"{split}_dataloader: has {images} images, and not one batch; name more images, or set "
            f"{split}_dataloader.batch_size to fewer"
        )


def resume(cfg: Config) -> dict[str, Any]:
    """Finds and checks the checkpoint that a config is to go on from, if it is to; returns what it
    says of its run, or nothing. Errors are those of `check_checkpoint` and `handover.settle`.

    Hosts that share no folder go on from the newest checkpoint of all, which is sent to the others.
    """
    if not cfg.get("resume"):
        return {}
    if distributed.is_initialized():
        checkpoint = _settled(cfg)
    else:
        checkpoint = cfg.load_from or newest_checkpoint(cfg.work_dir)
    if not checkpoint:
        cfg.resume = False  # or MMEngine would look by itself
        return {}
    cfg.load_from = find_checkpoint(str(checkpoint))
    return check_checkpoint(cfg.load_from, cfg, to_resume=True)


def _settled(cfg: Config) -> Path | None:
    """Returns the checkpoint that all hosts go on from, which one that lacks it is sent."""
    work_dir, mine = Path(cfg.work_dir), None
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank == 0 and (found := cfg.load_from or newest_checkpoint(work_dir)):
        steps = {work_dir / entry.file: entry.iter for entry in read_journal(work_dir)}
        # Of those that are named none is the newest: they are to be one file.
        order = 0 if cfg.load_from else steps.get(Path(found), 0)
        mine = Offer.of(Path(found), order) if Path(found).is_file() else None

    def place(offer: Offer) -> Path:
        return work_dir / Path(offer.path).name

    settled = settle(mine, place, "checkpoint to resume", local_rank=local_rank)
    if settled and local_rank == 0 and (mine is None or settled != Path(mine.path)):
        enter(work_dir, settled, int(read_checkpoint(settled)["meta"]["iter"]), keep=0)
    return settled or cfg.load_from  # which no host has, and the next to read it says so


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
    with build_errors_named(cfg), torch.device("meta"):
        return MODELS.build(cfg.model)


def _trunk(state: Mapping[str, Any]) -> dict[str, Any]:
    parts = ((key.partition(marker), value) for key, value in state.items() for marker in TRUNKS)
    return {name: value for (_, marker, name), value in parts if marker}
