"""Modules are imported in processes of their own: one that crashes or hangs leaves the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnext_backbones.reports.doctor import probe

LAST_WORDS = 0.5
"""So many seconds before it is ended, what hangs says where."""


@dataclass(frozen=True)
class Probe:
    """Says how the import of a module went.

    Attributes:
        version: as the module says it.
        facts: what else was asked of it.
        warnings: what it warned of.
        error: why it cannot be imported; "" where it can.
        missing: the module that was not found, if it is that.
        hangs: whether it had not ended when time was up.
        said: what it wrote on stdout and stderr, with the place where it was as it crashed or hung.
    """

    name: str
    version: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    missing: str = ""
    hangs: bool = False
    said: str = ""


def try_modules(lines: Iterable[Sequence[str]], *, until: float) -> dict[str, Probe]:
    """Returns how the imports went; one that was not tried because time was up is not among them.

    Args:
        lines: of modules; one process imports those of a line, one after another.
        until: a time of `time.monotonic`; what has not ended by then is ended.
    """
    with ThreadPoolExecutor() as threads:
        done = threads.map(lambda line: list(_try(line, until)), lines)
        return {probe.name: probe for probes in done for probe in probes}


def _try(names: Sequence[str], until: float) -> Iterator[Probe]:
    """Yields how the imports of a line went: in a new process behind one that was ended by one."""
    begin = time.monotonic()
    while names and time.monotonic() < until - LAST_WORDS:
        with TemporaryDirectory(prefix="resnext_doctor_") as folder:
            ending, answers, said = _run(names, Path(folder), until)
        done = [Probe(**each) for each in answers if "name" in each]
        yield from done
        left = [name for name in names if name not in {probe.name for probe in done}]
        begun = [name for name in left if {"begun": name} in answers]
        if ending:  # by the last one; another one that hung is tried anew
            begun = begun[-1:] or left[:1]
        error = ending or f"had not ended after {time.monotonic() - begin:.0f} s"
        for name in begun:
            yield Probe(name, error=error, hangs=not ending, said=said)
        names = [name for name in left if name not in begun]


def _run(names: Sequence[str], folder: Path, until: float) -> tuple[str, list[Any], str]:
    """Returns how the process ended, "" where time was up, what it answered, and what it wrote."""
    answers, said = folder / "answers", folder / "said"
    answers.touch()
    path = [str(Path(each).absolute()) for each in sys.path]
    asked = {"path": path, "names": names, "until": until - LAST_WORDS, "answers": str(answers)}
    flags = ["-S"] if sys.flags.no_site else []
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *flags, str(probe.__file__), json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ending = ""
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(until - time.monotonic())
        signals = {each.value: each.name for each in signal.Signals}
        ending = f"ended its process with status {status}"
        ending = ending if status >= 0 else f"ended by {signals.get(-status, -status)}"
    with suppress(ProcessLookupError, PermissionError):  # what it started may live on
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    text, wrote = answers.read_text(encoding="utf-8"), said.read_bytes()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    for each in lines:
        if "said" in each:
            each["said"] = _decoded(wrote[slice(*each["said"])])
    return ending, lines, _decoded(wrote)


def _decoded(wrote: bytes) -> str:
    return wrote.decode(errors="replace").strip()
