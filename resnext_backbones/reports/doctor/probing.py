"""Modules are imported in processes of their own: one that crashes or hangs leaves the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnext_backbones.reports.doctor import probe
from resnext_backbones.reports.doctor.probe import COLLECT_ENV

CHAINS: tuple[tuple[str, ...], ...] = (
    ("torch", "torchvision", "timm"),
    ("mmengine", "mmcv", "resnext_backbones.mmcv_ops", "mmdet"),
    ("numpy", "PIL", "cv2", "pycocotools.mask", "matplotlib"),
    ("safetensors", "huggingface_hub", "filelock", "transformers", "detectron2"),
    (COLLECT_ENV,),
)
"""One process imports the modules of a line, one after another; the lines run at once."""

QUIET = 2.0
"""A module that has used no processor for so many seconds waits for something: those behind it go
on in another process. It has the whole time still, since a disk may be slow."""

POLL = 0.05


@dataclass
class Probe:
    """Says how the import of a module went.

    Attributes:
        version: as the module says it.
        facts: what else was asked of it.
        warnings: what it warned of.
        error: why it cannot be imported; "" where it can.
        missing: the module that was not found, if it is that.
        signal: the name of the one that ended the process.
        hangs: whether it had not ended when time was up.
        said: what it wrote on stdout and stderr, with the place where it was as it crashed or hung.
    """

    name: str
    version: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    missing: str | None = None
    signal: str = ""
    hangs: bool = False
    said: str = ""

    @property
    def works(self) -> bool:
        return not (self.error or self.hangs)


class Prober:
    """Imports modules in the background, from when it is built until `finish`."""

    def __init__(self, names: Sequence[str], *, seconds: float) -> None:
        """Starts the processes.

        Args:
            names: of modules in `CHAINS`; the others are left out.
            seconds: after so many what has not ended is ended.
        """
        self.seconds = seconds
        self.end = time.monotonic() + seconds
        self._folder = TemporaryDirectory(prefix="resnext_doctor_")
        self._running: list[_Process] = []
        self._started = 0
        self.probes: dict[str, Probe] = {}
        for chain in CHAINS:
            self._start([name for name in chain if name in names])

    def finish(self) -> dict[str, Probe]:
        """Returns every module's, in the order in which they ended; one that was not tried because
        time was up is not among them.
        """
        while self._running and time.monotonic() < self.end:
            for process in list(self._running):
                self._look_at(process)
            time.sleep(POLL)
        for process in self._running:
            process.stop()
            self._take(process)
            self._name_the_hanging(process)
        self._folder.cleanup()
        return self.probes

    def _start(self, names: Sequence[str]) -> None:
        if names:
            self._started += 1
            stem = Path(self._folder.name) / str(self._started)
            # What hangs says where, before it is ended.
            left = max(self.end - time.monotonic() - 0.3, 0.1)
            self._running.append(_Process(stem, names, left))

    def _look_at(self, process: _Process) -> None:
        status = process.popen.poll()  # before what it wrote is read: nothing comes behind it
        self._take(process)
        if status is not None:
            self._running.remove(process)
            process.stop()  # what it started may live on
            if process.begun is not None:
                how = _signal_of(status)
                error = f"ended by {how}" if how else f"ended its process with status {status}"
                probe = Probe(process.begun, error=error, signal=how, said=process.said())
                self.probes[process.begun] = probe
            self._start(process.left())
        elif process.waits() and process.left():
            self._start(process.give_up_the_rest())
        elif process.begun is not None and process.begun not in process.names:
            self._running.remove(process)  # it waited, went on, and others have the rest
            process.stop()

    def _take(self, process: _Process) -> None:
        for answer in process.answers():
            said = process.said() if answer["name"] == COLLECT_ENV or "error" in answer else ""
            if answer["name"] in process.names:
                self.probes[answer["name"]] = Probe(**answer, said=said)

    def _name_the_hanging(self, process: _Process) -> None:
        if process.begun is not None:
            self.probes[process.begun] = Probe(
                process.begun,
                error=f"had not ended after {self.seconds:.0f} s, {process.cpu():.1f} s of them on "
                "a processor",
                hangs=True,
                said=process.said(),
            )


class _Process:
    """Runs the script with some modules."""

    def __init__(self, stem: Path, names: Sequence[str], seconds: float) -> None:
        self.names, self.done = list(names), 0
        self.begun: str | None = None
        self._answers, self._said = stem.with_suffix(".answers"), stem.with_suffix(".said")
        self._answers.touch()
        self._read = 0
        asked = {
            "path": [str(Path(each).absolute()) for each in sys.path],
            "names": self.names,
            "seconds": seconds,
            "answers": str(self._answers),
        }
        flags = ["-S"] if sys.flags.no_site else []
        with self._said.open("wb") as said:
            self.popen = subprocess.Popen(
                [sys.executable, *flags, str(probe.__file__), json.dumps(asked)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._cpu, self._since = 0.0, time.monotonic()

    def answers(self) -> list[dict[str, Any]]:
        """Returns what was answered since it was asked last."""
        text = self._answers.read_bytes()
        lines = text[self._read : text.rfind(b"\n") + 1].splitlines()
        self._read = text.rfind(b"\n") + 1
        found = []
        for line in map(json.loads, lines):
            self.begun = line.get("begun")
            if self.begun is None:
                self.done += 1
                found.append(line)
        return found

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace").strip()

    def left(self) -> list[str]:
        """Returns the modules behind the one that has begun."""
        return self.names[self.done + (self.begun is not None) :]

    def give_up_the_rest(self) -> list[str]:
        """Returns the modules behind the one that has begun, which are others' from here on."""
        rest = self.left()
        del self.names[self.done + 1 :]
        return rest

    def waits(self) -> bool:
        """Tells whether it has used no processor for a while, and waits for no disk."""
        now, cpu = time.monotonic(), self.cpu()
        if cpu > self._cpu or self._state() == "D":
            self._cpu, self._since = cpu, now
        return self.begun is not None and now - self._since > QUIET

    def cpu(self) -> float:
        """Returns the seconds that it has used of a processor, with what it waited for."""
        fields = self._stat()
        ticks = sum(map(int, fields[11:15])) if fields else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def _state(self) -> str:
        return next(iter(self._stat()), "")

    def _stat(self) -> list[str]:
        with suppress(OSError):
            return Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return []

    def stop(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


def _signal_of(status: int) -> str:
    """Returns the name of the signal that ended a process; "" where none did."""
    if status >= 0:
        return ""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
