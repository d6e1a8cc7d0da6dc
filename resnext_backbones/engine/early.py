"""What can be known of a run before its first step is looked at here, in any task."""

from __future__ import annotations

from typing import Any

from resnext_backbones.engine.fit import log_warning
from resnext_backbones.engine.monitored import check_monitored
from resnext_backbones.engine.numbers import check_numbers
from resnext_backbones.engine.outputs import check_folder
from resnext_backbones.engine.packages import check_packages
from resnext_backbones.engine.settings import check_metainfo, unread
from resnext_backbones.engine.signatures import check_settings, datasets_of
from resnext_backbones.errors import InputError

SPLITS = {"train": ("train", "val"), "test": ("test",)}
"""A mode builds these loaders and evaluators."""


def check_run(cfg: Any, mode: str) -> None:
    """Checks a config's settings, numbers, packages, metrics and output folder, and warns of
    entries that nothing reads. Nothing is built.

    Args:
        mode: train, or test.

    Raises:
        InputError: the first that is wrong.
    """
    splits = SPLITS[mode]
    check_folder("--work-dir", cfg.work_dir)
    sections = [f"{split}_{part}" for split in splits for part in ("dataloader", "evaluator")]
    check_packages(cfg, [*sections, "visualizer", *(["optim_wrapper"] * (mode == "train"))])
    check_settings(cfg, splits)
    check_numbers(cfg)
    _check_backends(cfg)
    for split in splits:
        for place, dataset in datasets_of(f"{split}_dataloader", cfg):
            check_metainfo(place, dataset)
    if mode == "train":
        check_monitored(cfg)
    for problem in unread(cfg):
        log_warning(problem)


def _check_backends(cfg: Any) -> None:
    """Checks that no two of a visualizer's backends have one name, which is the type of most."""
    backends = (cfg.get("visualizer") or {}).get("vis_backends") or ()
    names = [backend.get("name", backend.get("type")) for backend in backends]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise InputError(
            f"visualizer.vis_backends: {', '.join(twice)} is named twice; leave one out, or give "
            "each a `name`"
        )
