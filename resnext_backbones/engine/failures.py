"""What ends a run from outside of it is said in one message, with the checkpoint to go on from."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import distributed

from resnext_backbones.engine import hosts
from resnext_backbones.engine.signals import TERMINATED, requests
from resnext_backbones.errors import InputError, RunError

WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.+)", re.S)
"""PyTorch says so that a process which loads data is gone."""

LOST = re.compile(
    "closed by peer|reset by peer|timed out waiting|pair closure|broken pipe|no route to host|"
    "network is unreachable|gloo|nccl",
    re.I,
)
"""A collective that another process did not take part in ends in such an error."""


@contextmanager
def said(work_dir: str | Path) -> Iterator[None]:
    """Raises RunError where a process that loads data, or another one that trains, is gone.

    PyTorch raises the first as soon as it is so, in the midst of whatever is computed, which may
    make another error of it, or forget it.
    """
    try:
        yield
    except Exception as error:
        texts = [str(each) for each in _chain(error)]
        worker = lost_worker(error)
        if not worker and not isinstance(error, InputError | RunError):
            worker = _killed_child()
        if worker:
            raise RunError(
                f"process {worker}: where nobody did that, the system was out of memory (its log "
                "says so: dmesg); lower num_workers or batch_size of the loaders; "
                f"{last_checkpoint_said(work_dir)}"
            ) from error
        lost = isinstance(error, distributed.DistError) or any(map(LOST.search, texts))
        if lost and (distributed.is_initialized() or hosts.peers is not None):
            if requests.asked or hosts.were_asked():  # while all evaluate, which saves nothing
                kept = last_checkpoint_said(work_dir)
                print(f"asked to end, as other processes were; {kept}", file=sys.stderr)
                raise SystemExit(TERMINATED) from error
            raise RunError(f"{hosts.lost()}; {last_checkpoint_said(work_dir)}") from error
        raise


def lost_worker(error: BaseException) -> str:
    """Returns which process that loads data an error says to be gone, and how; "" for none."""
    return next(filter(None, (_worker_in(str(each)) for each in _chain(error))), "")


def _worker_in(text: str) -> str:
    """Returns which process that loads data an error of PyTorch's names, and its end, or ""."""
    if not (found := WORKER.search(text)):
        return ""
    how = found[2].split(". ")[0].strip(". \n")
    if "Bus error" in how:
        how += " (/dev/shm is full: give it more, or set fewer num_workers)"
    return f"{found[1]}, which loads data, {how}"


def _killed_child() -> str:
    """Returns which process of this one's a signal has ended, if no one has taken note of it; ""
    where there is none.
    """
    with suppress(ChildProcessError):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended and ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            how = signal.strsignal(ended.si_status)
            return f"{ended.si_pid}, which loads data, is killed by signal: {how}"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, and those that it was raised from or while they were handled."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def last_checkpoint_said(work_dir: str | Path) -> str:
    """Returns which checkpoint a run of any engine can go on from, for a message."""
    note = Path(work_dir) / "last_checkpoint"
    if not note.is_file():
        if hosts.are_several() and int(os.environ.get("RANK") or 0):
            return f"{hosts.name_of(0)} writes the checkpoints: --resume goes on from its last one"
        return f"there is no checkpoint in {work_dir} yet"
    name = Path(note.read_text(encoding="utf-8").strip()).name
    return f"the last checkpoint is {note.with_name(name)}: --resume goes on from it"
