"""Detectron2's trainer tells loggers whether a run has come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.engine.hooks import PeriodicWriter
from detectron2.engine.train_loop import TrainerBase

from resnext_backbones.tasks.detectron2.loggers import LogWriter


class Log:
    """Keeps how it was closed."""

    def __init__(self) -> None:
        self.closed: list[bool] = []

    def tell(self, _: object) -> None: ...

    def close(self, *, ended: bool) -> None:
        self.closed.append(ended)


class Trainer(TrainerBase):
    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails

    def run_step(self) -> None:
        if self.fails:
            raise FloatingPointError("loss is nan")


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_fails_is_broken_off(tmp_path: Path, fails: bool) -> None:
    log, trainer = Log(), Trainer(fails)
    trainer.register_hooks([PeriodicWriter([LogWriter(log, tmp_path)])])
    try:
        trainer.train(0, 2)
    except FloatingPointError:
        assert fails
    assert log.closed == [not fails]
