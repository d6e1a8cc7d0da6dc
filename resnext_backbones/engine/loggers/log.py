"""A service is written to in a thread of its own, which nobody waits for once it has begun."""

from __future__ import annotations

import atexit
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
import torch

from resnext_backbones.engine.loggers.services import FINISH_SECONDS, SERVICES, Run
from resnext_backbones.engine.record import read_json
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text, json_text

NAMES = "loggers.json"
"""This file of a work directory has the services' names for its run."""

START_SECONDS = 120
WAITING = 100_000
"""So many writes are kept for a service that does not answer."""

IMAGES = 100
"""Of images no more are kept."""

OFFLINE = {
    "wandb": "WANDB_MODE=offline",
    "mlflow": "no MLFLOW_TRACKING_URI, which keeps it in the work directory",
    "clearml": "CLEARML_OFFLINE_MODE=1",
}
"""What lets a service do without its server."""

Write = Callable[[Any], None]

running: list[Log] = []
"""These logs of the process are not closed yet."""


class Log:
    """Writes a run to a service of `SERVICES`.

    Raises InputError where the service cannot be started: it asks for an account, say, or does not
    answer. A run that goes on does without it then. Later failures are one line of the run's log.

    Args:
        name: of the service.
        run: that is logged.
        warn: takes a line for the run's log.
        resumed: the run goes on, and so does the service's where it has one of this work directory.
    """

    def __init__(
        self, name: str, run: Run, warn: Callable[[str], None], *, resumed: bool = False
    ) -> None:
        self.name, self.warn = name, warn
        self.failed = 0
        self._ended: bool | None = None
        self._writes: Queue[Write | None] = Queue(WAITING)
        self._ready, self._error = Event(), ""
        known = read_json(run.work_dir / NAMES) if resumed else None
        self._known: dict[str, str] = known if isinstance(known, dict) else {}
        run = Run(**{**vars(run), "known_as": str(self._known.get(name, ""))})
        self._thread = Thread(target=self._work, args=(run,), daemon=True, name=f"log {name}")
        with unchanged_random_numbers():
            self._thread.start()
            if not self._ready.wait(START_SECONDS):
                self._error = f"does not answer in {START_SECONDS} seconds"
        if self._error:
            self._stop(resumed)
            return
        running.append(self)
        atexit.unregister(_close_broken_off)  # or it would be called once for each
        atexit.register(_close_broken_off)

    def _stop(self, resumed: bool) -> None:
        said = f"--loggers {self.name}: cannot be started: {self._error}"
        if not resumed:
            without = f"; without a server: {OFFLINE[self.name]}" if self.name in OFFLINE else ""
            raise InputError(said + without)
        self.warn(f"{said}; the run goes on without it")

    def _work(self, run: Run) -> None:
        try:
            service = SERVICES[self.name]
            backend, known_as = service.start(run)
            if self._error:  # it answers after all, and nobody waits any more
                self._guarded(backend.close)
                return
            self._keep(run, known_as)
        except BaseException as error:  # a service may mean to end the interpreter
            self._error = _line(error)
            return
        finally:
            self._ready.set()
        while (write := self._writes.get()) is not None:
            self._guarded(lambda write=write: write(backend))  # type: ignore[misc]
        self._guarded(backend.close if self._ended else lambda: service.break_off(backend))

    def _keep(self, run: Run, known_as: str) -> None:
        """Keeps the service's name beside those of others, which begin one after the other."""
        if known_as and known_as != self._known.get(self.name):
            path = run.work_dir / NAMES
            names = read_json(path)
            names = names if isinstance(names, dict) else {}
            atomic_write_text(path, json.dumps({**names, self.name: known_as}, indent=1))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            self._fail(_line(error))

    def _fail(self, why: str) -> None:
        self.failed += 1
        if self.failed == 1:
            self.warn(
                f"logger {self.name}: {why}; training goes on, and what is missing there is in "
                "the work directory"
            )

    def _put(self, write: Write) -> None:
        if self._error or not self._thread.is_alive():
            return
        try:
            self._writes.put_nowait(write)
        except Full:
            self._fail(f"does not take {WAITING} values")

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Logs numbers of a step; other values, such as text, are left out."""
        own = {name: float(value) for name, value in values.items() if _is_number(value)}
        if SERVICES[self.name].steps:
            own["step"] = step
        self._put(lambda backend: backend.add_scalars(own, step))

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Logs an image (H, W, 3), RGB."""
        if self._writes.qsize() > IMAGES:
            self._fail("is behind, and gets no images")
            return
        self._put(lambda backend: backend.add_image(name, image, step))

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Logs what a run began with, of plain values."""
        plain = json.loads(json_text(facts))
        self._put(lambda backend: SERVICES[self.name].tell(backend, plain))

    def end(self, *, ended: bool = True) -> None:
        """Has the service's run end once it has all, which `close` waits for.

        Args:
            ended: False for a run that was broken off, which the service is told.
        """
        if self._ended is None:
            self._ended = ended
            with suppress(Full):
                self._writes.put_nowait(None)

    def wait(self, until: float) -> None:
        """Waits up to a time of `time.monotonic` until the service has all."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self.warn(f"logger {self.name}: has not taken all in {FINISH_SECONDS} seconds")
        elif self.failed > 1:
            self.warn(f"logger {self.name}: did not take {self.failed} writes")


def close(logs: Iterable[Log], *, ended: bool = True) -> None:
    """Ends the runs of services, all of them at once, and waits for each until it has all, or for
    `FINISH_SECONDS` together; arguments as of `Log.end`.
    """
    open_ones = [log for log in logs if log in running]
    for log in open_ones:
        log.end(ended=ended)
    until = time.monotonic() + FINISH_SECONDS + 5
    for log in open_ones:
        running.remove(log)
        log.wait(until)


def _close_broken_off() -> None:
    close([*running], ended=False)


@contextmanager
def unchanged_random_numbers() -> Iterator[None]:
    """Leaves the state of all generators as it was, and PyTorch's choice of algorithms."""
    python, numpy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torchs)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor | np.ndarray):
        return np.prod(value.shape) == 1
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
