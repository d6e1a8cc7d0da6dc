"""What a measurement ran on: hardware, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "detectron2",
)


def provenance(device: str) -> dict[str, Any]:
    """Hardware, the versions of what is installed, and the commit of this package."""
    return {
        "hardware": hardware(device),
        "versions": dict(_versions(LIBRARIES)),
        "commit": commit(Path(__file__).parent),
    }


def commit(folder: Path) -> str:
    """The commit that is checked out, with `-dirty` behind it where code was changed since.

    Empty where the folder is none of a repository's own.
    """
    if not _git(folder, "ls-files", "--", "."):
        return ""
    head = _git(folder, "rev-parse", "HEAD")
    # Results of other measurements are no code.
    changes = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)docs/benchmarks")
    return f"{head}-dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    return done.stdout.strip()


def hardware(device: str) -> str:
    """The GPU's name, or the processor's and the number of threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


def _versions(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
