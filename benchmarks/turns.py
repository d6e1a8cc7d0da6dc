"""Processes that take turns, so that whatever slows the machine down meets all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")


class OtherFailedError(RuntimeError):
    """Another process ended by an error, so that its turn would never come."""


class Turns:
    """Lets this process go on only when it is its turn.

    Args:
        mine: a semaphore that is released when it is.
        next_one: that of the process whose turn comes next.
        failed: an event that is set where one of them ended by an error.
    """

    def __init__(self, mine: Any, next_one: Any, failed: Any) -> None:
        self._mine, self._next, self._failed = mine, next_one, failed

    def begin(self) -> None:
        """Waits for this process's turn."""
        while not self._mine.acquire(timeout=1):
            if self._failed.is_set():
                raise OtherFailedError

    def end(self) -> None:
        """Hands over to the next process."""
        self._next.release()

    def fail(self) -> None:
        """Ends the others, too."""
        self._failed.set()


_turns: Turns


def in_turn(function: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
    """Calls a function in a process for each of some arguments, behind its `Turns`.

    All must take the same number of turns.
    """
    context = get_context("spawn")
    gates = [context.Semaphore(int(i == 0)) for i in range(len(arguments))]
    failed = context.Event()
    runs: list[Future[T]] = []
    with ExitStack() as stack:
        for i, each in enumerate(arguments):
            turns = gates[i], gates[(i + 1) % len(gates)], failed
            pool = stack.enter_context(ProcessPoolExecutor(1, context, _start, turns))
            runs.append(pool.submit(_call, function, *each))
    errors = [error for run in runs if (error := run.exception())]
    for error in errors:
        if not isinstance(error, OtherFailedError):
            raise error
    return [run.result() for run in runs]


def _start(*turns: Any) -> None:
    global _turns
    _turns = Turns(*turns)


def _call(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(_turns, *arguments)
    except BaseException:
        _turns.fail()
        raise
