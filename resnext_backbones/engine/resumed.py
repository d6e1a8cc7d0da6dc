"""A run that goes on has the settings of its config, also where a checkpoint brings back others."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook

from resnext_backbones.engine.walk import plain_values, value_at
from resnext_backbones.engine.written import read_section
from resnext_backbones.errors import InputError, some

CONFIG, CHECKPOINT = "the config's", "the checkpoint's"

HOLDS = {
    "model": CONFIG,
    "optim_wrapper": CONFIG,
    "optim_wrapper.optimizer.capturable": CHECKPOINT,
    "optim_wrapper.optimizer.foreach": CHECKPOINT,
    "optim_wrapper.optimizer.fused": CHECKPOINT,
    "param_scheduler": CONFIG,
    "auto_scale_lr": CONFIG,
    "train_cfg": CONFIG,
    "train_dataloader.batch_size": CONFIG,
    "train_dataloader.dataset": CONFIG,
    "processes": CONFIG,
    "randomness.seed": CHECKPOINT,
}
"""Whose value holds where a run goes on with another one, by the beginning of its place."""

NO_EFFECT = ("init_cfg", "weights")
"""Weights that a model begins with are not those that it goes on with."""

PROCESSES = "processes"
"""A checkpoint says by this name, in MMEngine's message hub, how many processes its run had."""

RATES = (
    "optim_wrapper", "auto_scale_lr", "param_scheduler", "train_dataloader.batch_size", PROCESSES,
)  # fmt: skip
"""The settings of an optimiser's groups follow from these."""

PROGRESS = frozenset(
    {
        "_global_step", "_last_value", "base_values", "best", "cooldown_counter", "last_step",
        "num_bad_epochs", "verbose",
    }
)  # fmt: skip
"""The state of a schedule has these beside its settings."""

ANEW = "a new run can begin from its weights: --cfg-options load_from=CHECKPOINT, without --resume"


class ResumedSettings:
    """Holds the settings of an optimiser and its schedules as a config makes them.

    MMEngine overwrites them with a checkpoint's, so this is made before, and put back after.
    """

    def __init__(self, runner: Any) -> None:
        groups = runner.optim_wrapper.param_groups
        self.groups = [copy.deepcopy({k: g[k] for k in g if k != "params"}) for g in groups]
        self.sizes = [len(g["params"]) for g in runner.optim_wrapper.optimizer.param_groups]
        self.schedules = [copy.deepcopy(s.state_dict()) for s in runner.param_schedulers or ()]
        self.changed: dict[str, tuple[Any, Any]] = {}
        self.iter = 0
        self.is_known = False

    def check(self, runner: Any, checkpoint: Mapping[str, Any]) -> None:
        """Raises InputError where the state of the checkpoint's optimiser is none of the config's
        optimiser, and finds what else is different.
        """
        meta = checkpoint.get("meta") or {}
        text, self.iter = meta.get("cfg"), meta.get("iter", 0)
        sections = {place.partition(".")[0] for place in HOLDS}
        then = {name: read_section(text, name) for name in sections}
        self.is_known = then["optim_wrapper"] is not None
        self.changed = dict(sorted(_differences(then, runner.cfg)))
        told = (checkpoint.get("message_hub") or {}).get("runtime_info") or {}
        if (before := told.get(PROCESSES)) not in (None, runner.world_size):
            self.changed[PROCESSES] = before, runner.world_size
        where = f"checkpoint {runner._load_from}"
        if pair := self.changed.get("optim_wrapper.optimizer.type"):
            raise InputError(
                f"{where}: its run had the optimiser {pair[0]}, whose state {pair[1]} cannot go on "
                f"with; keep {pair[0]}, or {ANEW}"
            )
        sizes = [len(group["params"]) for group in checkpoint["optimizer"]["param_groups"]]
        if sizes != self.sizes:
            raise InputError(
                f"{where}: its optimiser has {sum(sizes)} parameters in {len(sizes)} groups, and "
                f"the config's {sum(self.sizes)} in {len(self.sizes)} (paramwise_cfg, or what is "
                f"frozen); keep the settings of its run, or {ANEW}"
            )

    def apply(self, runner: Any) -> str:
        """Sets the config's values, and the rates that its schedules have where the run is now.

        Returns what is different, and whose holds, in words; "" where nothing is.
        """
        rates = self._unlike_groups(runner)
        moved = runner.iter != self.iter  # to the beginning of an epoch of another length
        if rates or moved or self._unlike_schedules(runner):
            self._replay(runner)
        if not (said := self.changed or rates):
            return ""
        lines = []
        for whose in (CONFIG, CHECKPOINT):
            listed = [f"{k} {a} -> {b}" for k, (a, b) in said.items() if _holds(k) == whose]
            if listed:
                lines.append(f"{whose} value holds of {some(listed)}")
        lr = sorted({group["lr"] for group in runner.optim_wrapper.param_groups})
        rate = ", ".join(f"{value:.4g}" for value in lr[:3])
        return (
            f"resumed with other settings than its run had: {'; '.join(lines)}; it goes on from "
            f"epoch {runner.epoch}, iteration {runner.iter}, at lr {rate}"
        )

    def _unlike_groups(self, runner: Any) -> dict[str, tuple[Any, Any]]:
        """Returns settings of the optimiser that the checkpoint had otherwise, by their names."""
        scheduled = {schedule.param_name for schedule in runner.param_schedulers or ()}
        words = _words(runner)
        is_changed = not self.is_known or any(place.startswith(RATES) for place in self.changed)
        found = {}
        for now, fresh in zip(runner.optim_wrapper.param_groups, self.groups, strict=True):
            for word in words & fresh.keys():
                # A hook of somebody's own may change what no schedule does.
                key = f"initial_{word}" if word in scheduled else word
                if (word in scheduled or is_changed) and now.get(key) != fresh.get(key):
                    found[word] = (now.get(key), fresh.get(key))
        return found

    def _unlike_schedules(self, runner: Any) -> bool:
        schedules = runner.param_schedulers or ()
        states = [_plain(schedule.state_dict()) for schedule in schedules]
        types = any(place.startswith("param_scheduler") for place in self.changed)
        return types or states != [_plain(state) for state in self.schedules]

    def _replay(self, runner: Any) -> None:
        """Begins the schedules anew, and steps them to where the run is."""
        groups, schedules = runner.optim_wrapper.param_groups, runner.param_schedulers or ()
        if any(getattr(schedule, "need_val_args", False) for schedule in schedules):
            runner.logger.warning(
                "param_scheduler: one follows what was measured, which is not known any more: the "
                "checkpoint's schedules and rates hold"
            )
            return
        scheduled = {schedule.param_name for schedule in schedules}
        words = _words(runner) | scheduled | {f"initial_{name}" for name in scheduled}
        for group, fresh in zip(groups, self.groups, strict=True):
            group.update({word: fresh[word] for word in words & fresh.keys()})
        for schedule, state in zip(schedules, self.schedules, strict=True):
            # MMEngine has put the checkpoint's in, also what only that one's kind has.
            schedule.load_state_dict(copy.deepcopy(state))
        length = len(runner.train_dataloader) if runner.epoch else 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no optimiser steps in between
            in_order = sorted(schedules, key=lambda schedule: schedule.by_epoch)
            for step in range(1, runner.iter + 1):
                ends_epoch = length and step % length == 0 and step // length <= runner.epoch
                for schedule in in_order:
                    if ends_epoch or not schedule.by_epoch:
                        schedule.step()


class ResumedSettingsHook(Hook):
    """Puts the config's settings in place where a run goes on, and says whose hold."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        settings = getattr(runner, "resumed_settings", None)
        if settings is not None and (said := settings.apply(runner)):
            runner.logger.warning(said)
        runner.message_hub.update_info(PROCESSES, runner.world_size)


def _words(runner: Any) -> set[str]:
    """Returns the settings of an optimiser's groups of which the config's values hold."""
    words = {"lr", "weight_decay", *runner.cfg.optim_wrapper.optimizer}
    return {word for word in words if _holds(word) == CONFIG}


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in PROGRESS}


def _holds(place: str) -> str:
    """Returns whose value holds of a setting; a name alone is one of the optimiser's."""
    in_full = "." in place or place in HOLDS
    return HOLDS[_begin(place if in_full else f"optim_wrapper.optimizer.{place}")]


def _begin(place: str) -> str:
    """Returns the longest beginning of a place that is in `HOLDS`."""
    return max((b for b in HOLDS if place == b or place.startswith(f"{b}.")), key=len)


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields the settings of `HOLDS` that two configs have otherwise, as far as both are known."""
    for begin in HOLDS:
        if then.get(begin.partition(".")[0]) is None:
            continue
        old, new = (dict(plain_values(value_at(cfg, begin), begin)) for cfg in (then, now))
        for place in {**old, **new}:
            is_own = _begin(place) == begin and not set(NO_EFFECT) & set(place.split("."))
            if is_own and old.get(place) != new.get(place):
                yield place, (old.get(place), new.get(place))
