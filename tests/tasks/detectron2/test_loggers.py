"""Detectron2's trainer tells loggers whether a run has come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2.engine.hooks import PeriodicWriter
from detectron2.engine.train_loop import TrainerBase

from resnext_backbones.tasks.detectron2 import loggers


class Trainer(TrainerBase):
    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails

    def run_step(self) -> None:
        if self.fails:
            raise FloatingPointError("loss is nan")


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_fails_is_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    closed, trainer = [], Trainer(fails)
    monkeypatch.setattr(loggers, "close", lambda _, *, ended: closed.append(ended))
    trainer.register_hooks([PeriodicWriter([loggers.LogWriter([], tmp_path)])])
    try:
        trainer.train(0, 2)
    except FloatingPointError:
        assert fails
    assert closed == [not fails]
