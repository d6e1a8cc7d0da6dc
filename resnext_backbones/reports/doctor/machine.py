"""What the machine has: devices, room, limits, and what an environment says."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from resnext_backbones.reports.units import size

NVIDIA = "0x10de"
PCI = Path("/sys/bus/pci/devices")


class Gpus(NamedTuple):
    """Says what the driver knows of NVIDIA's GPUs.

    Attributes:
        cards: on the bus, whether or not a driver is there.
        driver: its version; "" where none answers.
        cuda: the newest version of CUDA that it runs; "" where none answers.
        names: of the GPUs, with their memory and compute capability.
        error: what its tool said where it failed.
    """

    cards: int
    driver: str = ""
    cuda: str = ""
    names: Sequence[str] = ()
    error: str = ""


def facts(runs: Path, *, until: float) -> dict[str, Any]:
    """Returns the facts by their names, each from a thread of its own: of a file system that does
    not answer it is None, and of nothing else.

    Args:
        runs: the folder in which results of runs are written.
        until: a time of `time.monotonic`.
    """
    questions = {**QUESTIONS, "runs": lambda: room(runs)}
    found: dict[str, Any] = dict.fromkeys(questions)

    def ask(name: str) -> None:
        with suppress(Exception):  # of another system than Linux, say; then it is not known
            found[name] = questions[name]()

    threads = [threading.Thread(target=ask, args=[name], daemon=True) for name in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(found)


def room(path: Path) -> Any:
    """Returns the `total` and `free` bytes where a folder is, or would be if it were made."""
    return shutil.disk_usage(_nearest(path))


def _nearest(path: Path) -> Path:
    path = path.expanduser().absolute()
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _caches() -> dict[str, str]:
    """Returns what is wrong with the folders that PyTorch, the Hub and compilers write to, by the
    variables that move them.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = {
        "TORCH_HOME": home / "torch",
        "HF_HOME": home / "huggingface",
        "TRITON_CACHE_DIR": Path.home() / ".triton" / "cache",
        "TMPDIR": tempfile.gettempdir(),
    }
    found = {}
    for name, default in folders.items():
        place = _nearest(Path(os.environ.get(name) or str(default)))
        if not place.is_dir():
            found[name] = f"{place} is no folder"
        elif not os.access(place, os.W_OK | os.X_OK):
            found[name] = f"{place} cannot be written to"
        elif not room(place).free:
            found[name] = f"{place} is full"
    return found


def _memory() -> str:
    lines = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    limit = ""
    with suppress(OSError, ValueError):
        limit = f", the container {size(int(Path('/sys/fs/cgroup/memory.max').read_text()))}"
    available, total = (size(int(lines[name]) * 1024) for name in ("MemAvailable", "MemTotal"))
    return f"{available} available of {total}{limit}"


def gpus() -> Gpus:
    """Returns what there is of NVIDIA's, with or without a driver."""
    kinds = (
        [(each / n).read_text().strip() for n in ("vendor", "class")] for each in PCI.glob("*")
    )
    cards = sum(vendor == NVIDIA and kind.startswith("0x03") for vendor, kind in kinds)
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Gpus(cards)

    def say(*arguments: str) -> str:
        asked = [tool, *arguments]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=6, check=True)
        return done.stdout.strip()

    try:
        listed = say(
            "--query-gpu=driver_version,name,memory.total,compute_cap", "--format=csv,noheader"
        )
        rows = [line.split(", ", 1) for line in listed.splitlines()]
        cuda = re.search(r"CUDA Version:\s*([\d.]+)", say())
    except subprocess.CalledProcessError as error:
        return Gpus(cards, error=(error.stdout + error.stderr).strip())
    driver = rows[0][0] if rows else ""
    return Gpus(max(cards, len(rows)), driver, cuda[1] if cuda else "", [row[1] for row in rows])


def _compiler() -> str:
    """Returns the C++ compiler that torch.compile would call; "" where there is none."""
    names = (os.environ.get("CXX", ""), "g++", "c++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), "")


QUESTIONS: dict[str, Callable[[], Any]] = {
    "processors": lambda: f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
    "load": lambda: f"{os.getloadavg()[0]:.1f}",
    "memory": _memory,
    "gpus": gpus,
    "shm": lambda: room(Path("/dev/shm")),
    "temporary": lambda: room(Path(tempfile.gettempdir())),
    "handles": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    "compiler": _compiler,
    "headers": lambda: (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file(),
    "caches": _caches,
}
