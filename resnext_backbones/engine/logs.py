"""What a run writes beside its checkpoints: a disk that is full does not end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import LoggerHook as MMEngineLoggerHook

from resnext_backbones.adapters.registry import HOOKS


@contextmanager
def reported(runner: Any, what: str) -> Iterator[None]:
    """Within it, a file that cannot be written is logged, and training goes on.

    Args:
        what: is written.
    """
    try:
        yield
    except OSError as error:
        # A warning, of which MMEngine drops those that repeat themselves.
        runner.logger.warning(f"{what}: not written: {error}; training goes on")


@HOOKS.register_module()
class LoggerHook(MMEngineLoggerHook):
    """MMEngine's hook, for a disk that can be full."""

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Log a step."""
        with reported(runner, "values of a step"):
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Log an evaluation."""
        with reported(runner, "an evaluation's values"):
            super().after_val_epoch(runner, *args, **kwargs)

    def after_run(self, runner: Any) -> None:
        """Close what was logged to."""
        with reported(runner, "what was left of the log"):
            super().after_run(runner)
