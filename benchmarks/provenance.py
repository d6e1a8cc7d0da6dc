"""A measurement says what it ran on: hardware, versions, commit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import resnext_backbones
from resnext_backbones.compute.tuned import processor
from resnext_backbones.engine.provenance import commit
from resnext_backbones.io import atomic_write_text

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
    """Returns the hardware, the versions of what is installed, and the commit of this package."""
    return {
        "hardware": hardware(device),
        "versions": dict(_versions(LIBRARIES)),
        "commit": commit(Path(resnext_backbones.__file__).parent),
    }


def hardware(device: str) -> str:
    """Returns the GPU's name, or the processor's and the number of threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def file_name(hardware: str) -> str:
    """Returns hardware as a part of a file's name: `amd_epyc_2_threads`."""
    words = re.findall(
        r"[a-z0-9.]+", re.sub(r"\((?:r|tm)\)|processor|cpu|@", " ", hardware.lower())
    )
    return "_".join(words)


def save(result: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Writes a measurement as JSON, by its name and hardware, and returns the file."""
    path = folder / f"{name}_{file_name(result['hardware'])}.json"
    atomic_write_text(path, json.dumps(result, indent=1) + "\n")
    return path


def _versions(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        with suppress(PackageNotFoundError):
            yield name, version(name)
