"""Detectron2's events go to the loggers of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.utils.events import EventWriter, get_event_storage
from omegaconf import OmegaConf

from resnext_backbones.engine.loggers.log import Log, close
from resnext_backbones.engine.loggers.services import Run
from resnext_backbones.engine.record import begun
from resnext_backbones.tasks.detectron2.experiments import Experiment, LazyExperiment

WINDOW = 20  # scalars are as in TensorBoard's file: a median over so many steps

logger = logging.getLogger(__name__)


class LogWriter(EventWriter):
    """Writes what is new among the scalars to logs, and first what the run began with."""

    def __init__(self, logs: Sequence[Log], work_dir: Path) -> None:
        self.logs, self.work_dir = logs, work_dir
        self.last = -1
        self.has_begun = False

    def write(self) -> None:
        for log in () if self.has_begun else self.logs:
            log.tell(begun(self.work_dir))
        self.has_begun = True
        rows: dict[int, dict[str, float]] = {}
        for name, (value, step) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if step > self.last:
                rows.setdefault(step, {})[name] = value
        for step in sorted(rows):
            for log in self.logs:
                log.scalars(rows[step], step)
        self.last = max([self.last, *rows])

    def close(self) -> None:
        # Detectron2 closes writers in a `finally`: of a run that is broken off, too.
        close(self.logs, ended=sys.exc_info()[0] is None)


def writers(names: Sequence[str], experiment: Experiment, *, resumed: bool) -> list[EventWriter]:
    """Returns a writer for those of `engine.loggers.LOGGERS` that are named but TensorBoard, which
    Detectron2 has; errors as of `Log`.
    """
    asked = [name for name in dict.fromkeys(names) if name != "tensorboard"]
    if not asked:
        return []
    work_dir, cfg = Path(experiment.work_dir).resolve(), experiment.cfg
    plain = OmegaConf.to_container(cfg) if isinstance(experiment, LazyExperiment) else cfg
    values = {key: str(value) for key, value in _flat(plain).items()}
    text = "\n".join(f"{key}: {value}" for key, value in values.items())
    run = Run(work_dir, work_dir, text, values)
    logs = [Log(name, run, logger.warning, resumed=resumed) for name in asked]
    return [LogWriter(logs, work_dir)]


def _flat(values: object, place: str = "") -> dict[str, object]:
    """Returns the values of a tree by their places: what a config calls is no plain value."""
    if not isinstance(values, dict):
        return {place: values}
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= _flat(value, f"{place}.{key}".lstrip("."))
    return found
