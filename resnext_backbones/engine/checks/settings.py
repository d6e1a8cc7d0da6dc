"""A setting that nothing reads is told of, on the command line and in a config."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner

from resnext_backbones.engine.catalogue import NEARLY, closest
from resnext_backbones.engine.checks.signatures import DATASET
from resnext_backbones.engine.walk import walk
from resnext_backbones.errors import InputError

READ = frozenset(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | {
    "activation_checkpointing", "compile", "custom_imports", "efficient_conv_bn_eval",
    "find_unused_parameters", "model_wrapper_cfg", "tta_model", "tta_pipeline",
}  # fmt: skip
"""MMEngine's runner looks for these at the top of a config, and at nothing else."""

EARLIER = {
    "checkpoint_config": "default_hooks.checkpoint",
    "data": "train_dataloader, val_dataloader and test_dataloader",
    "evaluation": "val_evaluator, and train_cfg.val_interval",
    "fp16": "optim_wrapper, or --amp",
    "log_config": "default_hooks.logger",
    "lr_config": "param_scheduler",
    "optimizer_config": "optim_wrapper.clip_grad",
    "runner": "train_cfg",
    "seed": "randomness.seed",
    "total_epochs": "train_cfg.max_epochs",
    "workflow": "train_cfg.val_interval",
}
"""Settings of MMDetection 2, and what took their place."""

OWN = frozenset({"networks", "tune"})
"""This package reads these; the first in the configs of pretraining."""

INSTEAD = {"data_root": "; give --data-root"}
"""These do what a variable no longer does, where nothing has its value under its name."""

LIKE = 0.88
"""Names that agree so far are one name, misspelt."""

VARIABLES = frozenset({"test_pipeline", "train_pipeline", "val_pipeline", "test_dataloaders"})
"""Variables of many configs, whose names are like others."""

CLASSES = {"CLASSES": "classes", "PALETTE": "palette", "class": "classes", "class_names": "classes"}
"""Keys of `metainfo` that are meant for others; data sets keep what they do not know."""


def check_option(cfg: Mapping[str, Any], option: str) -> Iterator[str]:
    """Yields what a setting of the command line does in vain, before it is merged into a config.

    Args:
        option: its place, as `optim_wrapper.optimizer.lr`.

    Raises:
        InputError: it would begin a new entry at the top of the config, which nothing reads.
    """
    first, *rest = option.split(".")
    if first not in cfg and first not in READ | OWN:
        near = closest(first, sorted(READ | set(cfg)))
        raise InputError(
            f"--cfg-options {option}: the config has no {first}, and nothing reads it; try {near}"
        )
    if first not in READ | OWN:
        places = ", ".join(_places(cfg, cfg[first], first))
        instead = f"; set {places}" if places else INSTEAD.get(first, "")
        yield (
            f"--cfg-options {option}: the config has computed with it already, and nothing "
            f"reads it now{instead}"
        )
    node, place = cfg.get(first), first
    for key in rest:
        if not isinstance(node, Mapping):
            return
        if key not in node:
            if "type" in node:  # whose arguments are looked at later
                return
            names = [name for name in node if isinstance(name, str)]
            if close := difflib.get_close_matches(key, names, 1, NEARLY):
                yield (
                    f"--cfg-options {option}: {place} had no {key}, but {close[0]}; if that is "
                    "what was meant, nothing reads the new one"
                )
            return
        node, place = node[key], f"{place}.{key}"


def _places(cfg: Mapping[str, Any], value: Any, name: str) -> Iterator[str]:
    """Yields where what is read has the value of a variable under its own name, what training reads
    first.
    """
    for section in sorted(READ & set(cfg), key=lambda name: (not name.startswith("train"), name)):
        for place, found in walk(cfg[section], section):
            if place.endswith(f".{name}") and found == value:
                yield place


def unread(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields the entries at the top of a config that are misspelt, or of MMDetection 2. Any other
    that is not read is a variable, with which the config computes.
    """
    for name in cfg:
        if name in READ | OWN:
            continue
        close = difflib.get_close_matches(name, sorted(READ), 1, LIKE)
        if (new := EARLIER.get(name)) and isinstance(cfg[name], Mapping | list | int):
            yield f"config: nothing reads {name}, which is of MMDetection 2; set {new}"
        elif close and name not in VARIABLES:
            yield f"config: nothing reads {name}; if {close[0]} is meant, name it so"


def unreached(_: Any, built: Mapping[str, Any]) -> Iterator[str]:
    """Yields the milestones of schedules that end before them: the rate does not change there, also
    in some of MMDetection's own configs for longer trainings.
    """
    for place, node in built.items():
        if not re.fullmatch(r"param_scheduler(\.\d+)?", place) or not isinstance(node, Mapping):
            continue
        end, milestones = node.get("end"), node.get("milestones") or ()
        late = [number for number in milestones if isinstance(end, int) and number >= end]
        if late:
            yield (
                f"{place}.milestones: {', '.join(map(str, late))} are not reached, since its end "
                f"is {end}; set {place}.end, if they are meant"
            )


def check_metainfo(_: Any, built: Mapping[str, Any]) -> None:
    """Raises InputError where `metainfo` of a data set names classes in a way that is not read."""
    for place, node in built.items():
        if not re.fullmatch(rf"{DATASET}\.metainfo", place):
            continue
        for key in node or ():
            if meant := CLASSES.get(key):
                raise InputError(f"{place}.{key}: nothing reads it; name it {meant}")


def check_backends(_: Any, built: Mapping[str, Any]) -> None:
    """Raises InputError where two of a visualizer's backends have one name, which is the type of
    most.
    """
    backends = built.get("visualizer.vis_backends") or ()
    mappings = (backend for backend in backends if isinstance(backend, Mapping))
    names = [backend.get("name", backend.get("type")) for backend in mappings]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise InputError(
            f"visualizer.vis_backends: {', '.join(twice)} is named twice; leave one out, or give "
            "each a `name`"
        )
