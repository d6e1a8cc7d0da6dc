"""MMEngine's runner runs a config, once all that can be wrong was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import distributed

# They register what configs name; MMEngine reads files as this package does.
from resnext_backbones.adapters import mmengine as _reads_files  # noqa: F401
from resnext_backbones.engine import alone, hosts, loop, optim  # noqa: F401
from resnext_backbones.engine.alike import facts_of
from resnext_backbones.engine.checkpoints import MissedValidationHook, SavedStatisticsHook
from resnext_backbones.engine.config import build_errors_named, leave_loggers, of_a_new_run
from resnext_backbones.engine.curves import CurvesHook
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.hooks import EvaluatedHook, FiniteLossHook, RunWaysHook
from resnext_backbones.engine.loggers.backend import LoggersHook
from resnext_backbones.engine.memory import evaluation_options, less_memory_named, training_options
from resnext_backbones.engine.norms import SYNCHRONISED, use_own
from resnext_backbones.engine.page import EvaluationHook, end_run
from resnext_backbones.engine.processes import start_process_group
from resnext_backbones.engine.resumed import ResumedSettings, ResumedSettingsHook
from resnext_backbones.engine.seeds import be_deterministic
from resnext_backbones.engine.signals import requests
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text, json_text

FOR_TRAINING, FOR_TESTS = ("train_dataloader", "val_dataloader"), ("test_dataloader",)
"""These loaders are read."""


class CheckedRunner(Runner):
    """MMEngine's runner raises InputError where an optimiser, a schedule or an argument of them is
    wrong, and where the state of a checkpoint does not fit them.
    """

    cfg: Any
    resumed_settings: ResumedSettings | None = None

    def dump_config(self) -> None:
        own = self.cfg
        self.cfg = of_a_new_run(own)
        super().dump_config()
        self.cfg = own

    def build_optim_wrapper(self, *args: Any) -> Any:
        with build_errors_named(self.cfg):
            return super().build_optim_wrapper(*args)

    def build_param_scheduler(self, *args: Any) -> Any:
        with build_errors_named(self.cfg):
            return super().build_param_scheduler(*args)

    def resume(self, *args: Any, **options: Any) -> None:
        # Several optimisers are as MMEngine resumes them.
        if not isinstance(self.optim_wrapper, OptimWrapperDict):
            self.resumed_settings = ResumedSettings(self)
        super().resume(*args, **options)

    def load_checkpoint(self, *args: Any, **options: Any) -> Any:
        checkpoint = super().load_checkpoint(*args, **options)
        if self.resumed_settings is not None:
            self.resumed_settings.check(self, checkpoint)
        return checkpoint

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            be_deterministic()  # where PyTorch has no such way, MMEngine's would end the run


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
            RunWaysHook(),
            CurvesHook(),
            EvaluationHook(),
            SavedStatisticsHook(),
            MissedValidationHook(),
            LoggersHook(),
        )
        for hook in (*hooks, *added):
            if type(hook) not in map(type, runner.hooks):  # a config may name one as well
                runner.register_hook(hook)
        with less_memory_named(lambda: _less_memory(runner, "val")):
            runner.train()
        if is_main_process():
            end_run(runner, trained=True)
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
    leave_loggers(cfg)
    with watched(cfg):
        start(cfg, FOR_TESTS, checkpoint)
        runner = build_runner(cfg, "test_loop")
        for hook in (*hooks, EvaluatedHook(checkpoint), EvaluationHook()):
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
        end_run(runner, trained=False)
    return metrics


@contextmanager
def watched(cfg: Config) -> Iterator[None]:
    """Takes requests to end, and says in one message what comes over a run from outside."""
    with requests.listening(), said(cfg.work_dir):
        yield


def alone_in(cfg: Config) -> AbstractContextManager[None]:
    """Keeps other runs out of a config's work directory, once `start` has joined its processes;
    errors as of `alone.alone_in`.
    """
    goes_on = bool(cfg.get("resume"))
    return alone.alone_in(Path(cfg.work_dir), is_first=is_main_process(), goes_on=goes_on)


def start(cfg: Config, loaders: tuple[str, ...], checkpoint: str = "") -> None:
    """Joins the processes of a run, once they are alike; errors as of `start_process_group`.

    Args:
        loaders: names of those whose data sets are to be alike.
        checkpoint: that is evaluated, if one is; the hosts are to have the same.
    """

    def facts(leads: bool) -> dict[str, str]:
        return facts_of(cfg, loaders, leads=leads, checkpoint=checkpoint)

    start_process_group(cfg, facts)
    if cfg.launcher != "none" and not distributed.is_initialized():
        options = dict(cfg.env_cfg.dist_cfg)
        if torch.cuda.is_available() and "init_backend" not in options:
            options.update(hosts.group_options())
        with requests.ending_at_once():
            init_dist("pytorch", **options)  # whose variables every launcher's became


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
    for name in loops:
        if (loop := getattr(runner, name)) is not None:
            _check_images(loop.dataloader, name.removesuffix("_loop"))
            if hosts.are_several():
                _collect_by_network(getattr(loop, "evaluator", None))
    return runner


def _collect_by_network(evaluator: Any) -> None:
    """Has metrics of several hosts send what they found: MMEngine's default is a folder that all
    processes see, which `collect_dir` names where there is one.
    """
    for metric in getattr(evaluator, "metrics", ()):
        if getattr(metric, "collect_dir", None) is None:
            metric.collect_device = "gpu"


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
