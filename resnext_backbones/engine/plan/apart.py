"""Calls a function in processes of its own, which may crash and leave nothing behind.

Thousands of fake tensors and what follows them are the memory of one process, which ends with them:
where Python collects what is left of them later, PyTorch 2.14 crashes at times.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

from resnext_backbones.errors import RunError

AT_ONCE = 4
"""Not more processes than these; each takes about a gigabyte."""


@contextmanager
def processes(preload: Sequence[str]) -> Iterator[Callable[..., Future[Any]]]:
    """Gives a function that calls another one with its arguments, each time in a new process, and
    returns its future. All must be such as can be pickled.

    Args:
        preload: modules that processes have from the beginning, where the system can fork; they
            are imported while the caller goes on.
    """
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload([*preload])
        forkserver.ensure_running()
    number = min(AT_ONCE, os.cpu_count() or 1)
    pool = ProcessPoolExecutor(number, mp_context=context, max_tasks_per_child=1)
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def result_of(future: Future[Any]) -> Any:
    """Returns what a function returned, or raises what it raised; RunError: its process crashed."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RunError("plan: a process that computes with fake tensors ended at once") from error
