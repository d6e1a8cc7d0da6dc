"""What chooses the best checkpoint, or ends a run, must be a metric that is measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.registry import METRICS

from resnext_backbones.data.coco_table import COLUMNS
from resnext_backbones.engine.catalogue import closest
from resnext_backbones.engine.checks.signatures import HOOK, registered
from resnext_backbones.errors import InputError

RECALL = ("AR@100", "AR@300", "AR@1000", "AR_s@1000", "AR_m@1000", "AR_l@1000")
FAST = (100, 300, 1000)

EVALUATED = r"val_evaluator(\.\d+)?"

CLASSWISE = "_precision"
"""MMDetection's metrics of single classes end so."""

TRAINING = "training/"
"""The metrics of weights beside their average begin so, in pretraining."""

MONITORS = {
    "CheckpointHook": "save_best",
    "resnext_backbones.CheckpointHook": "save_best",
    "EarlyStoppingHook": "monitor",
}
"""Hooks read a metric by these arguments."""


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _of_coco(evaluator: Mapping[str, Any]) -> list[str]:
    """Returns the names of MMDetection's CocoMetric, without their prefix."""
    items, found = _words(evaluator.get("metric_items")), list[str]()
    for metric in _words(evaluator.get("metric", "bbox")):
        if metric == "proposal_fast":
            found += [f"AR@{n}" for n in evaluator.get("proposal_nums", FAST)]
        elif metric == "proposal":
            found += items or RECALL
        else:
            found += [f"{metric}_{item}" for item in items or COLUMNS]
    return found


def _of_coco_ap(evaluator: Mapping[str, Any]) -> list[str]:
    return [f"{kind}_{name}" for kind in evaluator.get("kinds", ("bbox",)) for name in COLUMNS]


NAMES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "CocoMetric": _of_coco,
    "mmdet.CocoMetric": _of_coco,
    "resnext_backbones.CocoMetric": _of_coco,
    "resnext_backbones.CocoAP": _of_coco_ap,
}
"""Evaluators of these types are known to give these names; of others the prefix is known."""


def check_monitored(_: Any, built: Mapping[str, Any]) -> None:
    """Raises InputError where a hook waits for a metric that no evaluator of `val` gives."""
    evaluators = [node for place, node in built.items() if re.fullmatch(EVALUATED, place)]
    measured = [_measured(node) for node in evaluators if isinstance(node, Mapping)]
    for place, name in _monitored(built) if measured else ():
        plain = name.removeprefix(TRAINING)
        if name == "auto" or any(gives(plain) for _, gives in measured):
            continue
        near = closest(name, [each for listed, _ in measured for each in listed])
        raise InputError(f"{place} {name}: val_evaluator measures nothing of this name; try {near}")


def _measured(evaluator: Mapping[str, Any]) -> tuple[list[str], Callable[[str], bool]]:
    """Returns names that an evaluator gives, as far as they are known, and what tells them."""
    kind = evaluator.get("type")
    built = registered(METRICS, kind, evaluator)  # None of several in one, each with its own prefix
    prefix = evaluator.get("prefix") or getattr(built, "default_prefix", None)
    names = NAMES.get(str(kind))
    if prefix is None:  # a program of somebody's own
        return [], lambda _: True
    begin = f"{prefix}/"
    if names is None:
        return [f"{begin}..."], lambda name: name.startswith(begin)
    listed = [begin + name for name in names(evaluator)]
    end = CLASSWISE if evaluator.get("classwise") else "\0"
    return listed, lambda name: name in listed or (name.startswith(begin) and name.endswith(end))


def _monitored(built: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the metrics that hooks wait for, with their places."""
    for place, hook in built.items():
        if re.fullmatch(HOOK, place) and isinstance(hook, Mapping):
            key = MONITORS.get(str(hook.get("type")))
            for name in _words(hook.get(key)) if key else ():
                yield f"{place}.{key}", name
