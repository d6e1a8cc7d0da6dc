"""A run that is asked to end saves first, and the processes that load its data outlive the request.

Slurm sends a signal to all processes of a step, and torchrun or a terminal to whole groups of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Each asks a run to end: launchers send the first, terminals the next two, and batch systems the
others some time before they end a job (Slurm's `--signal`)."""

TERMINATED = 128 + signal.SIGTERM
"""A run ends with this exit status where it was asked to, and has saved its state."""

UNHANDLED = (signal.SIG_DFL, signal.default_int_handler)

LOOK_SECONDS = 1.0
"""So often a process that loads data looks whether the one that trains is still there."""


class Requests:
    """Keeps what a process was asked.

    Attributes:
        asked: the signal by which it was asked to end; None where it was not.
        noted_only: someone looks at `asked` after each step, saves, and ends the process. Else a
            request ends it at once.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.noted_only = False
        self._listens = False
        self._taken: dict[signal.Signals, Any] = {}
        self._mask: set[int | signal.Signals] = set()
        self._parent = 0

    @contextmanager
    def listening(self, *, ends: bool = False) -> Iterator[None]:
        """Takes the signals in a block, but for those that someone handles, or that `nohup` has
        made to be ignored, and keeps them from processes that are forked in it.

        Args:
            ends: the process ends with the block, and those that load its data do; where it was
                asked to, and torchrun asks again once another one has ended, that no longer
                matters.
        """
        if self._listens or threading.current_thread() is not threading.main_thread():
            yield
            return
        known = {number: signal.getsignal(number) for number in REQUESTS}
        self._taken = {number: old for number, old in known.items() if old in UNHANDLED}
        try:
            self._listens = True
            self._set(self._note)
            yield
        finally:
            if ends:
                _end_children()
            for number, old in self._taken.items():
                signal.signal(number, signal.SIG_IGN if ends and self.asked else old)
            self.asked, self.noted_only, self._listens = None, False, False

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """Has the signals end the process in a block that has nothing to save, and waits outside of
        Python: for minutes where another process is gone.
        """
        if not self._listens or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._set(signal.SIG_DFL)
        try:
            yield
        finally:
            self._set(self._note)

    def _set(self, handler: Any) -> None:
        for number in self._taken:
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number)
        if not self.noted_only:
            print(
                f"{self.asked.name}: asked to end before the first step, or where nothing is "
                "trained: there is nothing to save",
                file=sys.stderr,
            )
            raise SystemExit(TERMINATED)

    def before_fork(self) -> None:
        """Blocks the signals, which the new process inherits, so that none finds it unprepared."""
        self._parent = os.getpid()
        if self._listens:
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)

    def after_fork_in_parent(self) -> None:
        if self._listens:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def after_fork_in_child(self) -> None:
        """Leaves the signals to a thread of the new process; they stay blocked in all others."""
        if self._listens:
            threading.Thread(target=_outlive, args=(self._parent,), daemon=True).start()


def _end_children() -> None:
    """Ends the processes that load data, whatever they are doing: nobody takes it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would take it for an error
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _outlive(parent: int) -> None:
    """Ends this process when its parent wants it to, or is gone; what others send goes to the
    parent, which saves.
    """
    while os.getppid() == parent:
        sent = signal.sigtimedwait(REQUESTS, LOOK_SECONDS)
        if sent is None:
            continue
        if sent.si_pid != parent:
            os.kill(parent, sent.si_signo)
        elif sent.si_signo == signal.SIGTERM:
            os._exit(0)  # as PyTorch's own handler does
    os._exit(1)


requests = Requests()
"""Those of this process."""

os.register_at_fork(
    before=requests.before_fork,
    after_in_parent=requests.after_fork_in_parent,
    after_in_child=requests.after_fork_in_child,
)
