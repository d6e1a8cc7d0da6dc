"""A run says what it starts from, stops where its loss is not finite, and bears a full disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import all_reduce, master_only
from mmengine.hooks import EMAHook, Hook
from mmengine.hooks import LoggerHook as MMEngineLoggerHook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine import record
from resnext_backbones.engine.describe import is_frozen, summary
from resnext_backbones.engine.run_ways import KEY, RunWays
from resnext_backbones.errors import InputError

AVERAGED = "ema_state_dict"
"""MMEngine's EMAHook keeps the trained weights in a checkpoint under this name, and the averages in
the place of the weights."""


class RunWaysHook(Hook):
    """Has convolutions computed in ways that are measured before the first step, or in those of the
    checkpoint that a run goes on from.
    """

    priority = "VERY_HIGH"  # before what was not evaluated yet is

    def before_train(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        hub, logger = runner.message_hub, runner.logger
        self.ways = RunWays(
            model,
            tunes=runner.cfg.get("tune", True),
            info=logger.info,
            warn=logger.warning,
            changed=lambda state: hub.update_info(KEY, state),
        )
        if runner._resume:
            self.ways.load_state_dict(hub.runtime_info.get(KEY, {}))
        self.ways.begin()

    def after_train(self, runner: Any) -> None:
        self.ways.end()


@dataclass(eq=False)
class ReportHook(Hook):
    """Logs what the training starts from, once the weights are loaded; random ones are a warning.

    Attributes:
        find_backbone: finds the backbone in the model.
        pixels: says which pixels the backbone sees.
        changed: what was set so that random values can be trained; "" where no one asked for them.
        loaded: what of `load_from` the network took; "" without it.
        left: what keeps new values then; "" where it took all.
        annotations: returns what was found in the annotation files of a runner's data, by split.
    """

    priority = "VERY_LOW"

    find_backbone: Callable[[nn.Module], nn.Module]
    pixels: str
    changed: str = ""
    loaded: str = ""
    left: str = ""
    annotations: Callable[[Any], Mapping[str, Sequence[Any]]] = field(default=lambda _: {})

    def before_train(self, runner: Any) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = self.find_backbone(model)
        facts = summary(backbone, model, self.pixels)
        facts.append(("images", f"{len(runner.train_dataloader.dataset)} to train with"))
        for name, value in facts:
            runner.logger.info(f"{name}: {value}")
        note_begin(runner, facts, _weights_file(runner, backbone), self.annotations)
        if source := _weights_source(runner, backbone, self.loaded):
            runner.logger.info(f"weights: {source}")
            if self.left:
                runner.logger.warning(f"weights: not all of it: {self.left}")
        else:
            keep = "frozen stages keep these random values"
            kept = keep if is_frozen(backbone) else "all of the backbone is trained"
            why = self.changed or "none given (--weights)"
            runner.logger.warning(f"weights: random: {why}; {kept}")
        batch = runner.world_size * runner.train_dataloader.batch_sampler.batch_size
        if said := unlike_rate(runner.cfg, batch):
            runner.logger.warning(said)


def unlike_rate(cfg: Mapping[str, Any], batch: int) -> str:
    """Returns that the learning rate of a config is for other steps, in words; "" where it is not.

    Args:
        batch: images that all processes compute at once; a step may take several times as many.
    """
    scaling, optim = cfg.get("auto_scale_lr") or {}, cfg.get("optim_wrapper") or {}
    base, parts = scaling.get("base_batch_size"), optim.get("accumulative_counts", 1)
    if scaling.get("enable") or base in (None, images := batch * parts):
        return ""
    scales = "auto_scale_lr.enable=True"
    if parts > 1:  # MMEngine scales by the images of one part
        scales += f" auto_scale_lr.base_batch_size={base / parts:g}"
    return (
        f"learning rate: the config's is for {base} images a step, and there are {images}; "
        f"{scales} scales it"
    )


def _weights_source(runner: Any, backbone: nn.Module, loaded: str) -> str:
    """Returns where the weights came from; "" where they are random."""
    if runner._resume and runner.iter > 0:
        checkpoint = runner._load_from or "the newest checkpoint"
        return f"resumed from {checkpoint} at iteration {runner.iter}"
    return loaded or _weights_file(runner, backbone)


def _weights_file(runner: Any, backbone: nn.Module) -> str:
    """Returns the name of what was loaded; "" where it is nothing."""
    if found := runner._load_from or getattr(backbone, "loaded_weights", None):
        return str(found)
    # MMDetection's own backbones do not say what they loaded, only what they were told to.
    init_cfg = getattr(backbone, "init_cfg", None)
    if isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
        return str(init_cfg["checkpoint"])
    return ""


@master_only
def note_begin(
    runner: Any,
    facts: Sequence[tuple[str, str]],
    weights: str = "",
    annotations: Callable[[Any], Mapping[str, Sequence[Any]]] = lambda _: {},
) -> None:
    """Keeps in the work directory what a run begins with.

    Args:
        facts: names and values, as for the log.
        weights: the name of what was loaded; "" where it is nothing.
        annotations: as of `ReportHook`.
    """
    with record.harmless(runner.logger.warning, record.RECORD):
        record.begin(
            Path(runner.work_dir),
            facts=facts,
            weights=record.weights_of(weights),
            from_step=runner.iter,
            max_steps=runner.max_iters,
            config=Path(runner.cfg.filename or "").name,
            data=record.data_of(annotations(runner)),
        )


class EvaluatedHook(Hook):
    """Logs which weights of a checkpoint are evaluated: those that EMAHook averaged, where it did.

    Such a checkpoint calls the averages its `state_dict`, for whoever reads it.
    """

    priority = "VERY_LOW"

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        kind, more = "averaged weights", ""
        if AVERAGED not in checkpoint:
            kind = "weights"
            if any(isinstance(hook, EMAHook) for hook in runner.hooks):
                more = "; it has no averages, though the config has an EMAHook"
        runner.logger.info(f"evaluated: the {kind} of {self.checkpoint}{more}")


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a run whose loss is NaN or infinite, before anything of it is saved.

    The loss is the mean over all processes, and is logged as such. It is taken once the backward
    pass is under way: before it the processes would wait for one another at each step.
    """

    priority = "HIGHEST"  # before MMEngine reads the loss

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Raises InputError of a loss, which a model of another kind may not have."""
        if "loss" not in (outputs or ()):
            return
        mean = outputs["loss"].detach().clone()
        all_reduce(mean, op="mean")
        outputs["loss"] = mean
        if not math.isfinite(loss := mean.item()):
            parts = {name: value.item() for name, value in outputs.items() if name != "loss"}
            wrong = [f"{name} {value}" for name, value in parts.items() if not math.isfinite(value)]
            listed = f" ({', '.join(wrong)})" if wrong else ""
            raise InputError(
                f"the loss of step {runner.iter + 1} is {loss}{listed}: lower the learning rate or "
                "clip the gradients, or take bf16 in place of fp16; the checkpoints are from "
                "before, and --resume takes the last one"
            )


@contextmanager
def reported(runner: Any, what: str) -> Iterator[None]:
    """Logs that a file with `what` cannot be written, and lets training go on."""
    try:
        yield
    except OSError as error:
        # A warning, of which MMEngine drops those that repeat themselves.
        runner.logger.warning(f"{what}: not written: {error}; training goes on")


@HOOKS.register_module()
class LoggerHook(MMEngineLoggerHook):
    """Logs as MMEngine's hook does, also where the disk is full, and evaluations by the steps of a
    loop that counts no epochs.
    """

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        with reported(runner, "values of a step"):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(runner._train_loop, IterBasedTrainLoop):
            self.log_metric_by_epoch = False
        with reported(runner, "an evaluation's values"):
            super().after_val_epoch(runner, *args, **kwargs)

    def after_run(self, runner: Any) -> None:
        with reported(runner, "what was left of the log"):
            super().after_run(runner)
