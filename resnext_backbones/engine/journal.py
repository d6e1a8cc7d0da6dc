"""The checkpoints of a work directory: known by their hash, and the last good one to go on from."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from resnext_backbones.engine.fit import log_warning
from resnext_backbones.errors import InputError
from resnext_backbones.io import whole_file
from resnext_backbones.weights.download import hash_of

JOURNAL = "checkpoints.json"
"""In a work directory: the checkpoints that are there, the oldest first."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that was asked to end, and saved its state before it did."""


@dataclass(frozen=True)
class Entry:
    """A line of the journal."""

    file: str  # its name in the work directory
    sha256: str
    iter: int  # steps that were done
    metrics: Mapping[str, float] = field(default_factory=dict)  # once it was evaluated


def read_journal(work_dir: Path) -> list[Entry]:
    """Returns a work directory's journal, or nothing; raises InputError where it is damaged."""
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
    """Replaces a work directory's journal."""
    with whole_file(work_dir / JOURNAL) as temporary:
        lines = [asdict(entry) for entry in entries]
        temporary.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """Returns the checkpoint that a run goes on from; None where there is none.

    One that is missing, or not as it was written, is warned of and passed over. Raises InputError
    where there are checkpoints, but none that is known to be whole.
    """
    work_dir = Path(work_dir)
    entries = read_journal(work_dir)
    for entry in reversed(entries):
        path = work_dir / entry.file
        if path.is_file() and hash_of(path) == entry.sha256:
            return path
        what = "is damaged" if path.is_file() else "is missing"
        log_warning(f"checkpoint {path}: {what}; going on from the one before it")
    note = work_dir / "last_checkpoint"
    if not entries and note.is_file():  # a run of MMEngine's own hook
        return Path(note.read_text(encoding="utf-8"))
    if any(work_dir.glob("*.pth")):
        raise InputError(
            f"work directory {work_dir}: has checkpoints, but {JOURNAL} names none that is whole; "
            "name the one to take: --resume CHECKPOINT, or in place of auto"
        )
    return None


def checkpoint_to_test(name: str, work_dir: str | Path) -> str:
    """Returns a checkpoint's path: of `auto` the newest one's, or raises InputError."""
    found = newest_checkpoint(work_dir) if name == "auto" else name
    if found is None:
        raise InputError(f"checkpoint auto: there is none in {work_dir}; name one, or --work-dir")
    return str(found)


def enter(work_dir: Path, path: Path, step: int, keep: int) -> None:
    """Notes the checkpoint of a step, and removes the oldest of more than `keep`; 0 keeps all."""
    entries = [e for e in read_journal(work_dir) if e.file != path.name and e.iter <= step]
    entries.append(Entry(path.name, hash_of(path), step))
    first = max(0, len(entries) - keep) if keep > 0 else 0
    write_journal(work_dir, entries[first:])
    for entry in entries[:first]:
        (work_dir / entry.file).unlink(missing_ok=True)


def refuse_earlier_run(work_dir: Path) -> None:
    """Raises InputError where a new run would begin in a folder with checkpoints."""
    if any(work_dir.glob("*.pth")):
        raise InputError(
            f"--work-dir {work_dir}: holds the checkpoints of an earlier run; "
            "go on with --resume, or name another folder"
        )
