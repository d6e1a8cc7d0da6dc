"""A run of Detectron2's that goes on has the settings of its config, as one of MMEngine's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resnext_backbones.errors import InputError

RATE, FIRST_RATE = "lr", "initial_lr"
"""An optimiser's group has the rate of the step, and the one that a schedule multiplies."""

ANEW = "keep the settings of its run, or begin a new one from its weights in another --work-dir"


class OptimizerSettings:
    """Holds what a config gives the groups of an optimiser, before a checkpoint overwrites it."""

    def __init__(self, optimizer: Any) -> None:
        self.groups = [_settings(group) for group in optimizer.param_groups]
        self.kind = type(optimizer).__name__

    @contextmanager
    def put_back(self, optimizer: Any, scheduler: Any = None) -> Iterator[list[str]]:
        """Puts the values back once the block has loaded a checkpoint, and yields a list that gets
        what is different, in words.

        Args:
            scheduler: has taken over the first rates; None is made later, from the groups.

        Raises:
            InputError: the checkpoint's optimiser is another one, or has other groups.
        """
        changed: list[str] = []
        try:
            yield changed
        except ValueError as error:
            if "param" not in str(error):
                raise
            raise InputError(
                f"--resume: the optimiser's state does not fit: {error}; {ANEW}"
            ) from error
        loaded = [_settings(group) for group in optimizer.param_groups]
        for old, new in zip(loaded, self.groups, strict=True):
            if absent := sorted(new.keys() - old.keys() - {FIRST_RATE}):
                raise InputError(
                    f"--resume: the checkpoint's optimiser has no {', '.join(absent)}, which "
                    f"{self.kind} needs: its run had another; {ANEW}"
                )
            for key in new:
                words = f"{RATE if key == FIRST_RATE else key} {old.get(key)} -> {new[key]}"
                if old.get(key) != new[key] and words not in changed:
                    changed.append(words)
        if not changed:
            return
        for group, new in zip(optimizer.param_groups, self.groups, strict=True):
            group.update(new)
        if scheduler is not None:
            scheduler.base_lrs = [new[FIRST_RATE] for new in self.groups]
            for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
                group[RATE] = rate


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a group's values; of its two rates the first."""
    plain = {key: value for key, value in group.items() if key not in ("params", RATE, FIRST_RATE)}
    return {**plain, FIRST_RATE: group.get(FIRST_RATE, group[RATE])}
