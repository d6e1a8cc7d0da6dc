"""MMEngine's visualiser writes to a service through this backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.visualization.vis_backend import BaseVisBackend

from resnext_backbones.adapters.registry import VISBACKENDS
from resnext_backbones.engine.loggers import LOGGERS
from resnext_backbones.engine.loggers.log import Log, close
from resnext_backbones.engine.loggers.services import Run
from resnext_backbones.engine.record import begun
from resnext_backbones.errors import InputError


@VISBACKENDS.register_module()
class RunLogger(BaseVisBackend):
    """Writes a run to a service, and begins when it is given the config.

    Args:
        save_dir: of the visualiser: for files of the logger's own.
        logger: of `LOGGERS`; any other is an InputError.
    """

    log: Log | None = None

    def __init__(self, save_dir: str, logger: str) -> None:
        super().__init__(save_dir)
        if logger not in LOGGERS:
            raise InputError(f"logger {logger}: use {', '.join(LOGGERS)}")
        self.logger = logger

    @property
    def experiment(self) -> Log | None:
        """Returns the log, or None where none has begun."""
        return self.log

    def _init_env(self) -> None:
        """Does nothing: the log begins with the config, or not at all."""

    def add_config(self, config: Any, **_: Any) -> None:
        """Begins; errors as of `Log`."""
        run = Run(
            work_dir=Path(config.work_dir).resolve(),
            folder=Path(self._save_dir),
            pretty_text=config.pretty_text,
            values=config.to_dict(),
        )
        warn = MMLogger.get_current_instance().warning
        self.log = Log(self.logger, run, warn, resumed=bool(config.get("resume")))

    def add_scalar(self, name: str, value: Any, step: int = 0, **_: Any) -> None:
        if self.log:
            self.log.scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, *_: Any, **__: Any) -> None:
        if self.log:
            self.log.scalars(scalar_dict, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **_: Any) -> None:
        if self.log:
            self.log.image(name, image, step)

    def close(self) -> None:
        if self.log:
            self.log.end()  # a visualiser closes one after the other: `LoggersHook` waits for all


class LoggersHook(Hook):
    """Tells loggers what a run began with, once that is in the work directory, and waits for them
    at its end.
    """

    priority = "LOWEST"  # once MMEngine's hook has closed the visualiser

    def before_train(self, runner: Any) -> None:
        for log in _logs(runner):
            log.tell(begun(Path(runner.work_dir)))

    def after_run(self, runner: Any) -> None:
        close(_logs(runner))


def _logs(runner: Any) -> list[Log]:
    """Returns the logs of a run, which its first process alone has."""
    backends = runner.visualizer._vis_backends.values()
    return [each.log for each in backends if isinstance(each, RunLogger) and each.log]
