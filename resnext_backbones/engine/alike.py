"""What must be alike on all hosts: versions, the config, and the data set."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import resnext_backbones
from resnext_backbones.engine.config import BEGAN_WITH
from resnext_backbones.engine.walk import plain_values
from resnext_backbones.weights.download import hash_of

PACKAGES = ("torch", "torchvision", "onedl-mmengine", "onedl-mmcv", "onedl-mmdetection")

PLACES = (
    "work_dir", "load_from", BEGAN_WITH, "resume", "filename", "experiment_name", "launcher",
)  # fmt: skip
"""Settings that may be other ones on each host."""


def facts_of(
    cfg: Any, loaders: tuple[str, ...], *, leads: bool, checkpoint: str = ""
) -> dict[str, str]:
    """Returns what the processes of a run compare, by what a message calls it.

    Args:
        loaders: names of the loaders whose data sets count.
        leads: this process is the first of its host, and reads its files.
        checkpoint: that is evaluated; "" where a run trains.
    """
    cfg = cfg if isinstance(cfg, Mapping) else cfg._cfg_dict  # MMEngine's Config is no mapping
    found = {"versions": ", ".join(f"{name} {value}" for name, value in _versions())}
    if leads:
        if checkpoint:
            found["checkpoint to test"] = f"SHA-256 {hash_of(Path(checkpoint))[:12]}"
        begins = cfg.get("load_from")
        if begins and not cfg.get("resume") and Path(begins).is_file():
            found["checkpoint, load_from"] = f"SHA-256 {hash_of(Path(begins))[:12]}"
        for loader in loaders:
            if settings := cfg.get(loader):
                found |= dict(_files(settings.get("dataset") or {}, f"{loader}.dataset"))
    return found | {f"config, {key}": value for key, value in _settings(cfg)}


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", ".".join(map(str, sys.version_info[:2]))
    yield "resnext_backbones", resnext_backbones.__version__
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _settings(cfg: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the settings of a config that are no paths, by their dotted names."""
    for key in (key for key in cfg if key not in PLACES):
        for place, value in plain_values(cfg[key], key):
            if not any(map(_is_path, value if isinstance(value, list) else [value])):
                yield place, str(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and (os.sep in value or os.path.exists(value))  # noqa: PTH110


def _files(dataset: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Yields hashes of the files that a data set names, and of the names in its folder of images,
    by the settings that name them.
    """
    root = Path(str(dataset.get("data_root") or ""))
    for key, value in dataset.items():
        if isinstance(value, Mapping):
            yield from _files({"data_root": str(root), **value}, f"{name}.{key}")
        if not isinstance(value, str) or not value or key == "data_root":
            continue
        path = root / value
        if path.is_file():
            yield f"data set, {name}.{key}", f"SHA-256 {hash_of(path)[:12]}"
        elif path.is_dir():
            yield f"data set, {name}.{key}", _names(path)


def _names(folder: Path) -> str:
    """Returns how many files are in a folder, with a hash of their names."""
    names = sorted(
        os.path.join(os.path.relpath(path, folder), name)  # noqa: PTH118  a million of them
        for path, _, files in os.walk(folder)
        for name in files
    )
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return f"{len(names)} files, names {digest[:12]}"
