"""A job in a process of its own, which waits for its turns."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks import memory
from benchmarks.clock import seconds
from benchmarks.job import ON_GPU, Entry, Job, Setting, set_tf32
from resnext_backbones.compute.tables import Table, from_rows, to_rows
from resnext_backbones.compute.ways import table, use

AGAIN = 2
"""After so many turns graphs are captured, whose results are then compared."""

T = TypeVar("T")
Row = dict[str, Any]

_job: Job


class Worker:
    """Builds a job in a new process, so that memory and compiled code are its own.

    Args:
        setting: of all entries.
        entry: what is built.
        ways: of this package's convolutions, as `tune` returned them. What this user had chosen
            before is not looked at.
    """

    def __init__(self, setting: Setting, entry: Entry, ways: Sequence[Row] = ()) -> None:
        self.entry = entry
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _start, (setting, entry, ways))

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Runs one of this module's functions in the process, and waits."""
        return self._pool.submit(function, *args).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


def _start(setting: Setting, entry: Entry, ways: Sequence[Row]) -> None:
    global _job
    set_tf32(entry.precision)
    device = torch.device(setting.device).type
    use(device, from_rows(device, ways)[0])
    _job = Job(setting, entry)


def tune() -> tuple[list[Row], float]:
    """Returns the ways that `resnext tune` chooses for this job, which are kept nowhere else, and
    the seconds that it took.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_HOME"] = folder
        taken = seconds(_job.tune, _job.setting.device)
    return to_rows(table(torch.device(_job.setting.device).type)), taken


def warm_up(path: Path) -> None:
    """Warms up, writes outputs and gradients to a file, and forgets what that took of memory."""
    for _ in range(AGAIN if _job.entry.mode in ON_GPU else 0):
        _job.warm_up()
    torch.save({name: tensor.cpu() for name, tensor in _job.warm_up().items()}, path)
    _give_back()
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats(_job.setting.device)


def turn() -> tuple[float, float]:
    """Returns the seconds of a turn, behind one that fills the allocator, and those in which
    processors worked for it: all threads together, and nothing that others did meanwhile.
    """
    _job.turn()
    start = time.process_time()
    taken = _job.turn()
    worked = time.process_time() - start
    _give_back()
    return taken, worked


def turns_of_ways(ways: Sequence[Row], turns: int) -> list[tuple[float, float]]:
    """Returns the seconds of neighbouring turns: with these ways, and with plain ones. Which comes
    first changes from pair to pair.
    """
    device = torch.device(_job.setting.device).type
    tables: tuple[Table, Table] = from_rows(device, ways)[0], {}
    pairs = []
    _job.warm_up()
    for number in range(-1, turns):  # the first pair warms up
        pair = [0.0, 0.0]
        for i in (0, 1) if number % 2 else (1, 0):
            use(device, tables[i])
            pair[i] = _job.turn()
        pairs.append((pair[0], pair[1]))
    return pairs[1:]


def peak_bytes() -> int:
    """Returns the most memory so far."""
    return memory.peak_bytes(_job.setting.device)


def device_seconds() -> float | None:
    """Returns `Job.device_seconds`; None where that is not another number."""
    return _job.device_seconds() if _on_gpu() else None


def kept_bytes() -> int:
    """Returns `Job.kept_bytes`."""
    return _job.kept_bytes()


def graphs() -> int:
    """Returns `Job.graphs`."""
    return _job.graphs()


def _give_back() -> None:
    """Hands free memory in the allocator to the machine: the others need it for their turns."""
    if _on_gpu():
        torch.cuda.empty_cache()
    elif trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # only glibc has it
        trim(0)


def _on_gpu() -> bool:
    return torch.device(_job.setting.device).type == "cuda"
