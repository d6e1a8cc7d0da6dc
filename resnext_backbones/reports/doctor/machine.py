"""What the machine has: devices, room, limits, and what an environment says."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

SHOWN = r"RESNEXT_\w+|OMP_\w+|MKL_\w+|KMP_\w+|ONEDNN_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|TORCH_\w+|\
PYTORCH_\w+|TORCHINDUCTOR_\w+|TRITON_\w+|PYTHON\w+|LD_LIBRARY_PATH|LD_PRELOAD|HF_HOME|\
HF_HUB_OFFLINE|XDG_CACHE_HOME|VIRTUAL_ENV|CONDA_DEFAULT_ENV|TMPDIR|CXX|CC|RANK|WORLD_SIZE|\
LOCAL_RANK|SLURM_JOB_ID"
"""A pattern of environment variables that matter here; the others are nobody's business."""

NVIDIA = "0x10de"
PCI = Path("/sys/bus/pci/devices")


class Room(NamedTuple):
    """Says how many bytes a file system has, and how many are free."""

    total: int
    free: int


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
    driver: str
    cuda: str
    names: tuple[str, ...]
    error: str


def facts(runs: Path, *, until: float) -> dict[str, Any]:
    """Returns the facts by their names, each in a thread of its own: a file system that does not
    answer is missing there, and nothing else.

    Args:
        runs: the folder in which results of runs are written.
        until: a time of `time.monotonic`.
    """
    found: dict[str, Any] = {}

    def ask(name: str, question: Callable[[], Any]) -> None:
        with suppress(Exception):  # of another system than Linux, say; then it is not known
            found[name] = question()

    questions = {
        **QUESTIONS,
        "runs": lambda: room(runs),
        "caches": lambda: {name: trouble(path) for name, path in caches().items()},
    }
    threads = [
        threading.Thread(target=ask, args=each, name=each[0], daemon=True)
        for each in questions.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return {name: found.get(name) for name in questions}


def room(path: Path) -> Room:
    """Returns the room on the file system of a folder that may not exist yet."""
    place = _nearest(path)
    usage = shutil.disk_usage(place)
    return Room(usage.total, usage.free)


def caches() -> dict[str, Path]:
    """Returns the folders that PyTorch, the Hub and compilers write to, by what moves them."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = {
        "TORCH_HOME": home / "torch",
        "HF_HOME": home / "huggingface",
        "TRITON_CACHE_DIR": Path.home() / ".triton" / "cache",
        "TMPDIR": Path(tempfile.gettempdir()),
    }
    given = {name: Path(value) for name in found if (value := os.environ.get(name))}
    return {**found, **given}


def trouble(path: Path) -> str:
    """Returns why nothing can be written below a folder that may not exist yet; "" where it can."""
    place = _nearest(path)
    if not place.is_dir():
        return f"{place} is no folder"
    if os.access(place, os.W_OK | os.X_OK):
        return "" if room(place).free else f"{place} is full"
    read_only = bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    return f"{place} is {'read-only' if read_only else 'not yours to write to'}"


def _nearest(path: Path) -> Path:
    path = path.expanduser().absolute()
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _system() -> str:
    with suppress(OSError):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
        return f"{name}, {platform.platform()}"
    return platform.platform()


def _surroundings() -> str:
    """Returns what Python runs in: an environment of its own, a container."""
    named = []
    if sys.prefix != sys.base_prefix:
        named.append("virtual environment")
    if (Path(sys.prefix) / "conda-meta").is_dir():
        named.append("conda environment")
    if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))):
        named.append("container")
    if "microsoft" in platform.release().lower():
        named.append("WSL")
    return ", ".join(named)


def _processors() -> tuple[str, int, int, float | None]:
    """Returns the name, how many there are, how many this process may use, and the quota of a
    container.
    """
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    quota = None
    with suppress(OSError, ValueError):
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        quota = int(most) / int(period)
    allowed = len(os.sched_getaffinity(0))
    return names[0] if names else platform.machine(), os.cpu_count() or 1, allowed, quota


def _memory() -> tuple[int, int, int | None]:
    """Returns the bytes of memory, those available, and the limit of a container."""
    lines = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    limit = None
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    return int(lines["MemTotal"]) * 1024, int(lines["MemAvailable"]) * 1024, limit


def _gpus() -> Gpus:
    cards = 0
    for device in PCI.glob("*"):
        with suppress(OSError):
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
            cards += vendor == NVIDIA and kind.startswith("0x03")
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Gpus(cards, "", "", (), "")
    fields = "driver_version,name,memory.total,compute_cap"
    asked = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
    listed = subprocess.run(asked, capture_output=True, text=True, timeout=6, check=False)
    if listed.returncode:
        return Gpus(cards, "", "", (), (listed.stdout + listed.stderr).strip())
    rows = [line.split(", ", 1) for line in listed.stdout.strip().splitlines()]
    head = subprocess.run([tool], capture_output=True, text=True, timeout=6, check=False).stdout
    cuda = re.search(r"CUDA Version:\s*([\d.]+)", head)
    names = tuple(row[1] for row in rows)
    return Gpus(
        max(cards, len(rows)), rows[0][0] if rows else "", cuda[1] if cuda else "", names, ""
    )


def _compiler() -> str:
    """Returns the C++ compiler that torch.compile would call; "" where there is none."""
    names = (os.environ.get("CXX", ""), "g++", "c++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), "")


def _environment() -> Mapping[str, str]:
    return {k: v for k, v in sorted(os.environ.items()) if re.fullmatch(SHOWN, k)}


QUESTIONS: dict[str, Callable[[], Any]] = {
    "system": _system,
    "surroundings": _surroundings,
    "processors": _processors,
    "load": lambda: os.getloadavg()[0],
    "memory": _memory,
    "gpus": _gpus,
    "shm": lambda: room(Path("/dev/shm")),
    "temporary": lambda: room(Path(tempfile.gettempdir())),
    "handles": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    "compiler": _compiler,
    "headers": lambda: (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file(),
    "environment": _environment,
}
