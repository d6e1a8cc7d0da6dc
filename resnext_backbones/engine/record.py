"""A work directory keeps what its runs began with and how they went, for their page.

None of it may end a run: what cannot be kept is one line in the log.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import resnext_backbones
from resnext_backbones.engine.provenance import commit
from resnext_backbones.io import atomic_write_text, json_text, remove_leftovers
from resnext_backbones.reports.page import FILE_NAME
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.sources import locate

RECORD = "record.json"
"""This file of a work directory has an entry for each run in it: the first, and those that went on
from a checkpoint. Of an entry every value may be missing.
"""

JOURNAL = "checkpoints.json"
"""This file of a work directory lists its checkpoints, the oldest first: `engine.checkpoints`."""

EVALUATION = "evaluation.json"
"""This one says what was evaluated last, and where the detections and the truth are."""


PLAN = "plan.json"
"""This one says what a training was to take, if it was planned: `planned_bytes`, of its tensors."""


@contextmanager
def harmless(warn: Callable[[str], None], what: str) -> Iterator[None]:
    """Hands whatever goes wrong with a file, `what`, to `warn` as a line; the run goes on."""
    try:
        yield
    except Exception as error:  # of all kinds: nothing that only describes a run may end it
        said = " ".join(str(error).split())
        warn(f"{what}: not written: {type(error).__name__}: {said}")


def read_record(work_dir: Path) -> list[dict[str, Any]]:
    """Returns the entries of a work directory's runs, the oldest first; none where there is no
    record, or a damaged one.
    """
    return dicts(read_json(work_dir / RECORD))


def begun(work_dir: Path) -> dict[str, Any]:
    """Returns what a work directory says that its newest run began with, and was to take."""
    found = {**entries[-1]} if (entries := read_record(work_dir)) else {}
    return {**found, "plan": plan} if (plan := read_json(work_dir / PLAN)) else found


def dicts(value: Any) -> list[dict[str, Any]]:
    """Returns the mappings in a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds; None where it is missing, cannot be read or is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def begin(work_dir: Path, **facts: Any) -> None:
    """Adds the entry of a run that begins, with its facts, and clears away what a killed one was
    writing; raises OSError.
    """
    for name in (RECORD, EVALUATION, "detections*.json", FILE_NAME):
        remove_leftovers(work_dir, name)
    entry = {"started": now(), "command": command(), **_code(), "versions": versions(), **facts}
    _write(work_dir, [*read_record(work_dir), entry])


def note(work_dir: Path, **facts: Any) -> None:
    """Adds facts to the entry of the run that began last, if there is one; raises OSError."""
    if entries := read_record(work_dir):
        entries[-1].update(facts)
        _write(work_dir, entries)


def note_end(work_dir: Path, step: int, peak: tuple[int, str]) -> None:
    """Notes that a run has ended well after so many steps, and the most bytes that its first
    process took, and of which memory; raises OSError.
    """
    note(work_dir, ended=now(), step=step, peak_bytes=peak[0], peak_of=peak[1])


def note_evaluation(work_dir: Path, **facts: Any) -> None:
    """Replaces what a work directory says of its last evaluation; raises OSError."""
    atomic_write_text(work_dir / EVALUATION, json_text({"when": now(), **facts}, indent=1))


def absolute(path: Any) -> str:
    """Returns a path from the root on, for whoever reads it from another folder; addresses and ""
    as they are.
    """
    return str(path) if not path or "://" in str(path) else str(Path(path).absolute())


def note_plan(work_dir: Path, **facts: Any) -> None:
    """Replaces what a work directory says of the memory that was planned; raises OSError."""
    atomic_write_text(work_dir / PLAN, json_text({"when": now(), **facts}, indent=1))


def _write(work_dir: Path, entries: list[dict[str, Any]]) -> None:
    atomic_write_text(work_dir / RECORD, json_text(entries, indent=1))


def now() -> str:
    """Returns the time, with its zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def command() -> str:
    """Returns the command line of this process, as one would type it."""
    program, *arguments = sys.argv
    name = Path(program).name
    head = ["resnext"] if name == "resnext" else ["python", program]
    if name == "__main__.py":
        head = ["python", "-m", "resnext_backbones"]
    return shlex.join([*head, *arguments])


def _code() -> dict[str, str]:
    """Returns the commits of this package and of the folder that a run was started in."""
    found = {}
    with suppress(OSError):  # there is no git
        own = Path(resnext_backbones.__file__).parent
        found = {"commit": commit(own), "commit_here": commit(Path.cwd())}
    return {name: value for name, value in found.items() if value}


def versions() -> dict[str, str]:
    """Returns those of what computes, and the device."""
    device = platform.processor() or platform.machine()
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return {
        "resnext_backbones": resnext_backbones.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }


def weights_of(source: str | None) -> dict[str, str]:
    """Returns where weights came from, and the SHA-256 of the file, if it is on this machine."""
    if not source:
        return {}
    found = {"source": source}
    with suppress(Exception):  # it was an address, or is there no more
        found["sha256"] = hash_of(locate(source))
    return found


def data_of(found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns what was found in annotation files, by split, as plain values.

    Args:
        found: the `Annotations` of each split.
    """
    return {
        split: [
            {
                "annotations": str(each.path),
                "sha256": each.digest,
                "summary": each.summary,
                "findings": [vars(finding) for finding in each.findings],
            }
            for each in files
        ]
        for split, files in found.items()
    }
