"""One run at a time trains in a work directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from resnext_backbones.errors import InputError

LOCK = ".lock"
"""The first process of a run holds this file of its work directory."""

SECONDS = 60
"""A run that is asked to end may still write its checkpoint for so long as the next one begins."""


@contextmanager
def alone_in(work_dir: Path, *, is_first: bool, goes_on: bool) -> Iterator[None]:
    """Keeps other runs out of a work directory, whose checkpoints would be mixed.

    Where the file system knows no locks, nobody is kept out.

    Args:
        is_first: of the run's processes.
        goes_on: the run that this one goes on with may be about to end, and is waited for.

    Raises:
        InputError: another run trains there.
    """
    # Its holder may take it once more; a marker would outlive a run that was killed.
    lock = FileLock(work_dir / LOCK, is_singleton=True, fallback_to_soft=False)
    try:
        if is_first:
            work_dir.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=SECONDS if goes_on else 0)
    except Timeout as error:
        raise InputError(
            f"--work-dir {work_dir}: another run trains in it; name another folder, or wait until "
            "it has ended"
        ) from error
    except OSError:  # where there are no locks, or nothing can be written, which saving will say
        pass
    try:
        yield
    finally:
        lock.release()
