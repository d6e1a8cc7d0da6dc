"""A life of a run: its processes are forked, sent a signal, and waited for."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.soak_tasks import Run
from resnext_backbones import cli

SIGNALS = (signal.SIGKILL, signal.SIGTERM)

TARGETS = ("everything", "one process", "a loader's worker")
"""A signal goes to one of these; Slurm and torchrun send it to everything."""

HANGS = 180.0  # seconds
AGENT = 5.0
"""The others are asked to end so many seconds after one process has, as torchrun does."""

STACKS = signal.SIGRTMIN + 1
"""Has a process that hangs write down where."""


class Fault(Exception):
    """Says what a life has left that it should not have."""


@dataclass
class Life:
    """Holds the processes of one life, and how they were killed."""

    pids: list[int]
    log: Path
    statuses: dict[int, int] = field(default_factory=dict)
    killed: tuple[str, str] | None = None  # signal and target

    def poll(self) -> bool:
        """Tells whether a process is still there."""
        for pid in set(self.pids) - self.statuses.keys():
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.statuses[pid] = os.waitstatus_to_exitcode(status)
        return len(self.statuses) < len(self.pids)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begin(run: Run, work_dir: Path, log: Path) -> Life:
    """Forks the processes of a life, in a process group of their own."""
    port, pids = free_port(), list[int]()
    for rank in range(run.processes):
        pid = os.fork()
        if pid == 0:
            _live(run, work_dir, log, rank, port, pids[0] if pids else 0)
        with contextlib.suppress(OSError):  # it has done so itself, or is gone
            os.setpgid(pid, pids[0] if pids else pid)
        pids.append(pid)
    return Life(pids, log)


def _live(run: Run, work_dir: Path, log: Path, rank: int, port: int, group: int) -> None:
    """Runs the command in a forked process, and ends it as the interpreter would."""
    status = 70
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, group)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(file, stream)
        faulthandler.register(STACKS, 2, all_threads=True)
        torch.set_num_threads(1)  # makes the pool anew, which threads of a fork would race for
        if run.processes > 1:
            os.environ.update(
                RANK=str(rank), WORLD_SIZE=str(run.processes), LOCAL_RANK=str(rank),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
        try:
            command, config, *rest = run.arguments
            cli.main([command, config, "--work-dir", str(work_dir), "--resume", *rest])
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        import atexit

        atexit._run_exitfuncs()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def left_of(group: int) -> list[int]:
    """Returns the processes of a group that are there, without PyTorch's manager of shared memory,
    which ends by itself some seconds after the last process that it served.
    """
    left = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, rest = path.read_text().rsplit(")", 1)
            state, _, found = rest.split()[:3]
            if int(found) == group and state != "Z" and "torch_shm_man" not in name:
                left.append(int(path.parent.name))
    return left


def strike(life: Life, number: signal.Signals, target: str, choice: random.Random) -> None:
    """Sends a signal, and notes it; a loader's worker that is not there yet is no target."""
    pid = choice.choice(life.pids)
    workers = children(pid) if target == TARGETS[2] else []
    if target == TARGETS[2] and not workers:
        target = TARGETS[1]
    with contextlib.suppress(ProcessLookupError):
        if target == TARGETS[0]:
            os.killpg(life.pids[0], number)
        else:
            os.kill(choice.choice(workers) if workers else pid, number)
        life.killed = (number.name, target)


def wait(life: Life, until: float) -> bool:
    """Waits until a life is over, or a moment has come; tells whether it is still there."""
    while life.poll() and time.monotonic() < until:
        time.sleep(0.01)
    return life.poll()


def live(run: Run, work_dir: Path, log: Path, moment: float | None, choice: random.Random) -> Life:
    """Returns a life that is over; it was sent a signal after `moment` seconds."""
    life, begun = begin(run, work_dir, log), time.monotonic()
    if moment is not None and wait(life, begun + moment):
        strike(life, choice.choice(SIGNALS), choice.choice(TARGETS), choice)
    end = begun + HANGS
    while life.poll() and time.monotonic() < end:
        if any(life.statuses.values()):
            if wait(life, time.monotonic() + AGENT):
                for pid in set(life.pids) - life.statuses.keys():
                    os.kill(pid, signal.SIGTERM)
            wait(life, time.monotonic() + 30)
            break
        time.sleep(0.02)
    if life.poll():
        for number in (STACKS, int(signal.SIGKILL)):
            with contextlib.suppress(OSError):
                os.killpg(life.pids[0], number)
            time.sleep(3)
        wait(life, time.monotonic() + 10)
        raise Fault(f"hangs: {life.killed}, {life.statuses}")
    return life
