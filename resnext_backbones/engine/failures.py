"""What ends a run from outside of it is said in one message, with the checkpoint to go on from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resnext_backbones.errors import RunError

WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.+)", re.S)
"""PyTorch says so that a process which loads data is gone."""


@contextmanager
def said(work_dir: str | Path) -> Iterator[None]:
    """Raises RunError where a process that loads data ended while it was needed."""
    try:
        yield
    except RuntimeError as error:
        if gone := WORKER.search(str(error)):
            how = gone[2].split(". ")[0].strip(". \n")
            raise RunError(
                f"process {gone[1]}, which loads data, {how}: where nobody did that, the system "
                "was out of memory (its log says so: dmesg); lower num_workers or batch_size of "
                f"the loaders; {last_checkpoint_said(work_dir)}"
            ) from error
        raise


def last_checkpoint_said(work_dir: str | Path) -> str:
    """Returns which checkpoint a run of any engine can go on from, for a message."""
    note = Path(work_dir) / "last_checkpoint"
    if not note.is_file():
        return f"there is no checkpoint in {work_dir} yet"
    name = Path(note.read_text(encoding="utf-8").strip()).name
    return f"the last checkpoint is {note.with_name(name)}: --resume goes on from it"
