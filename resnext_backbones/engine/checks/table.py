"""What can be known of a run before its first step is looked at here, in any task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resnext_backbones.engine.checks.monitored import check_monitored
from resnext_backbones.engine.checks.numbers import check_numbers
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.checks.packages import check_packages
from resnext_backbones.engine.checks.settings import (
    READ,
    check_backends,
    check_metainfo,
    unreached,
    unread,
)
from resnext_backbones.engine.checks.signatures import check_arguments
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.engine.walk import walk

LEFT_OUT = {
    "train": ("test_", "tta_"),
    "test": ("train_", "val_", "optim_wrapper", "param_scheduler"),
}
"""A mode builds nothing of the entries of a config that begin so."""

Check = Callable[[Any, Mapping[str, Any]], Iterable[str] | None]

CHECKS: dict[str, Check] = {
    "the output folder": lambda cfg, _: check_folder("--work-dir", cfg.work_dir),
    "packages that types need": check_packages,
    "types and their arguments": check_arguments,
    "numbers": check_numbers,
    "names of a visualizer's backends": check_backends,
    "names of classes": check_metainfo,
    "metrics that hooks wait for": check_monitored,
    "milestones behind the end": unreached,
    "entries that nothing reads": lambda cfg, _: unread(cfg),
}
"""Each takes a config and what a mode builds of it, by its place. It raises InputError of what is
wrong, and yields what to warn of. They come in this order."""


def check_run(cfg: Any, mode: str) -> None:
    """Looks at a config by `CHECKS`, for `train` or `test`, and warns of what they yield; raises
    InputError of the first that is wrong. Nothing is built.
    """
    sections = [name for name in cfg if name in READ and not name.startswith(LEFT_OUT[mode])]
    built = {place: node for name in sections for place, node in walk(cfg[name], name)}
    for check in CHECKS.values():
        for problem in check(cfg, built) or ():
            log_warning(problem)
