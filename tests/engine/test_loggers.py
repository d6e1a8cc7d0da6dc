"""Loggers that are absent, that cannot be started, and that fail: none of them ends a run."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.config import Config

from resnext_backbones.engine import loggers
from resnext_backbones.engine.config import RUN_LOGGER, leave_loggers, use_loggers
from resnext_backbones.engine.loggers import LOGGERS, check_loggers, log
from resnext_backbones.engine.loggers.log import Log, close
from resnext_backbones.engine.loggers.services import SERVICES, Run, Service
from resnext_backbones.engine.record import begun
from resnext_backbones.errors import InputError


class Backend:
    """A service of the test's own."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, float], int]] = []
        self.closed = 0

    def add_scalars(self, values: dict[str, float], step: int) -> None:
        if "fails" in values:
            raise ConnectionError("no\nnetwork")
        if "hangs" in values:
            time.sleep(60)
        self.rows.append((values, step))

    def close(self) -> None:
        self.closed += 1


def begin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, start: Any, break_off: Any = None, **options: Any
) -> tuple[Log, list[str]]:
    said: list[str] = []
    own = {"break_off": break_off} if break_off else {}
    monkeypatch.setitem(SERVICES, "wandb", Service(start, lambda *_: None, **own))
    run = Run(folder, folder, "a = 1", {"a": 1})
    return Log("wandb", run, said.append, **options), said


def test_every_logger_has_a_service() -> None:
    assert list(LOGGERS) == list(SERVICES)


def test_one_that_fails_is_one_line_and_goes_on(tmp_path: Path, monkeypatch) -> None:
    backend = Backend()
    own, said = begin(tmp_path, monkeypatch, lambda _: (backend, "a"))
    for step, name in enumerate(("loss", "fails", "fails", "loss")):
        own.scalars({name: torch.tensor(step), "text": "left out", "on": True}, step)
    close([own])
    close([own])
    assert backend.rows == [({"loss": 0.0}, 0), ({"loss": 3.0}, 3)]
    assert backend.closed == 1
    assert said == [
        "logger wandb: ConnectionError: no network; training goes on, and what is missing there "
        "is in the work directory",
        "logger wandb: did not take 2 writes",
    ]


@pytest.mark.parametrize("ended", [True, False])
def test_one_is_told_that_a_run_was_broken_off(tmp_path: Path, monkeypatch, ended: bool) -> None:
    """At the interpreter's exit, if nothing has closed it before."""
    backend, broken_off, at_exit = Backend(), [], []
    monkeypatch.setattr(log.atexit, "register", at_exit.append)
    own, _ = begin(tmp_path, monkeypatch, lambda _: (backend, "a"), break_off=broken_off.append)
    if ended:
        close([own])
    (at_the_end,) = at_exit
    at_the_end()
    assert (backend.closed, broken_off) == ((1, []) if ended else (0, [backend]))


def test_one_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log, "FINISH_SECONDS", -4.9)
    own, said = begin(tmp_path, monkeypatch, lambda _: (Backend(), "a"))
    begun_at = time.monotonic()
    own.scalars({"hangs": 1}, 1)
    own.scalars({"loss": 1}, 2)
    close([own])
    assert time.monotonic() - begun_at < 10
    assert len(said) == 1
    assert "has not taken all" in said[0]


def test_all_are_told_before_one_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    """A service that takes its time leaves the others theirs."""
    monkeypatch.setattr(log, "FINISH_SECONDS", 0)
    told, at_exit = threading.Event(), []
    monkeypatch.setattr(log.atexit, "register", at_exit.append)
    (first, said), (second, more) = (
        begin(tmp_path, monkeypatch, lambda _: (Backend(), "a"), break_off=break_off)
        for break_off in (lambda _: told.wait(), lambda _: told.set())
    )
    at_exit[-1]()
    assert told.is_set()
    assert said == more == []
    assert not {first, second} & {*log.running}


def refused(_: Run) -> None:
    raise SystemExit("log in first")


def test_one_that_cannot_be_started_is_named_before_the_first_step(
    tmp_path: Path, monkeypatch
) -> None:
    message = r"--loggers wandb: cannot be started: SystemExit: log in first.*WANDB_MODE=offline"
    with pytest.raises(InputError, match=message):
        begin(tmp_path, monkeypatch, refused)
    own, said = begin(tmp_path, monkeypatch, refused, resumed=True)
    own.scalars({"loss": 1}, 1)
    close([own])
    assert said == [
        "--loggers wandb: cannot be started: SystemExit: log in first; the run goes on without it"
    ]
    monkeypatch.setattr(log, "START_SECONDS", 0.1)
    with pytest.raises(InputError, match=r"does not answer in 0.1 seconds"):
        begin(tmp_path, monkeypatch, lambda _: time.sleep(3))


def test_a_run_that_goes_on_is_the_same_one_there(tmp_path: Path, monkeypatch) -> None:
    given: list[str] = []

    def start(run: Run) -> tuple[Backend, str]:
        given.append(run.known_as)
        return Backend(), run.known_as or "new"

    for resumed in (False, True, False):
        close([begin(tmp_path, monkeypatch, start, resumed=resumed)[0]])
    assert given == ["", "new", ""]


def test_random_numbers_stay_as_they_were(tmp_path: Path, monkeypatch) -> None:
    def seeds(_: Run) -> tuple[Backend, str]:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        torch.backends.cudnn.deterministic = True
        return Backend(), ""

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    close([begin(tmp_path, monkeypatch, seeds)[0]])
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after
    assert not torch.backends.cudnn.deterministic


def test_one_whose_package_is_absent_is_named(monkeypatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: name == "mlflow" or None)
    with pytest.raises(
        InputError, match=r"mlflow: needs sqlalchemy, alembic, .* pip install .*\[loggers\]"
    ):
        check_loggers(["mlflow"])


def test_they_take_the_place_of_tensorboard_and_of_an_earlier_choice() -> None:
    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}]
    for name in ("tensorboard", "tensorboard"):
        use_loggers(backends, [name, name])
    own = {"type": "resnext_backbones.RunLogger", "name": "tensorboard", "logger": "tensorboard"}
    assert backends == [{"type": "LocalVisBackend"}, own]


def test_what_a_run_began_with_is_the_newest_entry(tmp_path: Path) -> None:
    assert begun(tmp_path) == {}
    (tmp_path / "record.json").write_text('[{"command": "a"}, {"command": "b"}]')
    (tmp_path / "plan.json").write_text('{"planned_bytes": 3}')
    assert begun(tmp_path) == {"command": "b", "plan": {"planned_bytes": 3}}


def test_who_tests_a_runs_own_config_logs_nothing() -> None:
    own = {"type": "resnext_backbones.LocalVisBackend"}
    logger = {"type": RUN_LOGGER, "name": "wandb", "logger": "wandb"}
    cfg = Config({"visualizer": {"vis_backends": [own, logger]}})
    leave_loggers(cfg)
    assert cfg.visualizer.vis_backends == [own]
    leave_loggers(Config({}))


def test_images_do_not_pile_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(log, "FINISH_SECONDS", -4.9)
    own, said = begin(tmp_path, monkeypatch, lambda _: (Backend(), "a"))
    own.scalars({"hangs": 1}, 1)
    for step in range(log.IMAGES + 5):
        own.image("a", np.zeros((2, 2, 3), np.uint8), step)
    assert own._writes.qsize() <= log.IMAGES + 1
    assert "is behind, and gets no images" in said[0]
    close([own])
