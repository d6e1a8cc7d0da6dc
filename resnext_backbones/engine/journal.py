"""The checkpoints of a work directory: known by their hash, and the last good one to go on from."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text
from resnext_backbones.weights.download import hash_of

JOURNAL = "checkpoints.json"
"""In a work directory: the checkpoints that are there, the oldest first."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that was asked to end, and saved its state before it did."""


@dataclass(frozen=True)
class Entry:
    """A line of the journal.

    Attributes:
        file: its name in the work directory.
        sha256: of the file.
        iter: steps that were done.
        metrics: what its weights were evaluated to, once they are.
    """

    file: str
    sha256: str
    iter: int
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_journal(work_dir: Path) -> list[Entry]:
    """What a work directory's journal says; nothing where there is none.

    Raises:
        InputError: it is damaged.
    """
    path = work_dir / JOURNAL
    if not path.exists():
        return []
    try:
        return [Entry(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: is damaged ({error}); name the checkpoint to go on from: --resume CHECKPOINT"
        ) from error


def write_journal(work_dir: Path, entries: list[Entry]) -> None:
    """Replace a work directory's journal."""
    lines = [asdict(entry) for entry in entries]
    atomic_write_text(work_dir / JOURNAL, json.dumps(lines, indent=1) + "\n")


def newest_whole(work_dir: str | Path, warn: Callable[[str], None]) -> Path | None:
    """The checkpoint that a run goes on from; None where there is none.

    Args:
        warn: is told of one that is missing, or not as it was written, and so is passed over.

    Raises:
        InputError: there are checkpoints, but none that is known to be whole.
    """
    work_dir = Path(work_dir)
    entries = read_journal(work_dir)
    for entry in reversed(entries):
        path = work_dir / entry.file
        if path.is_file() and hash_of(path) == entry.sha256:
            return path
        what = "is damaged" if path.is_file() else "is missing"
        warn(f"checkpoint {path}: {what}; going on from the one before it")
    note = work_dir / "last_checkpoint"
    if not entries and note.is_file():  # a run of MMEngine's own hook
        return Path(note.read_text(encoding="utf-8"))
    if any(work_dir.glob("*.pth")):
        raise InputError(
            f"work directory {work_dir}: has checkpoints, but {JOURNAL} names none that is whole; "
            "name the one to take: --resume CHECKPOINT, or in place of auto"
        )
    return None


def enter(work_dir: Path, path: Path, step: int, keep: int) -> None:
    """Note a new checkpoint, and let go of those that are too many.

    Args:
        step: how many were done.
        keep: how many checkpoints stay; 0 or less is all.
    """
    entries = [e for e in read_journal(work_dir) if e.file != path.name and e.iter <= step]
    entries.append(Entry(path.name, hash_of(path), step))
    first = max(0, len(entries) - keep) if keep > 0 else 0
    write_journal(work_dir, entries[first:])
    for entry in entries[:first]:
        (work_dir / entry.file).unlink(missing_ok=True)


def refuse_earlier_run(work_dir: Path) -> None:
    """Refuse to begin a new run in a folder with checkpoints.

    Raises:
        InputError: the folder has some.
    """
    if any(work_dir.glob("*.pth")):
        raise InputError(
            f"--work-dir {work_dir}: holds the checkpoints of an earlier run; "
            "go on with --resume, or name another folder"
        )
