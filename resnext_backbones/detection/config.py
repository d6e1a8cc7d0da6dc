"""From a config's name and the command line to the config that runs."""

from __future__ import annotations

import argparse
import difflib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log

from resnext_backbones.detection.errors import InputError

INSTALLED_CONFIGS = Path(__file__).parents[1] / ".mim" / "configs"
ADAPTER = "resnext_backbones.adapters.openmmlab"
IMAGES = "resnext_backbones.detection.images"

# MMDetection's reader goes on with None where a file is no image.
CHECKED_TRANSFORMS = {"LoadImageFromFile": "resnext_backbones.LoadImageFromFile"}


def find_config(name: str) -> Path:
    """A path as it is, or a name among the configs that come with this package.

    Raises:
        InputError: there is no such config.
    """
    for path in (Path(name), INSTALLED_CONFIGS / name, INSTALLED_CONFIGS / f"{name}.py"):
        if path.is_file():
            return path
    names = sorted(path.stem for path in INSTALLED_CONFIGS.glob("*.py"))
    close = difflib.get_close_matches(Path(name).stem, names, n=3, cutoff=0.5) or names
    raise InputError(f"config {name}: no such file, and no config of this name; try {close}")


def load_config(
    name: str,
    options: Sequence[str] | None = None,
    *,
    work_dir: str | None = None,
    launcher: str = "none",
) -> Config:
    """Read a config and apply what all tools share.

    Args:
        name: a path or a name, as `find_config` takes.
        options: settings as on the command line: `optim_wrapper.optimizer.lr=0.01`.
        work_dir: where everything is written; None is the config's, or work_dirs/NAME.
        launcher: none, pytorch, slurm or mpi.

    Raises:
        InputError: there is no such config, it cannot be read, or mmcv was not compiled.
    """
    try:
        import_module(ADAPTER).require_operators()
    except ImportError as error:
        raise InputError(str(error)) from error
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(_parsed(options or ()))
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(f"config {path}: {type(error).__name__}: {error}") from error
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / path.stem)
    import_module(IMAGES)
    if Path(cfg.work_dir).exists() and not Path(cfg.work_dir).is_dir():
        raise InputError(f"--work-dir {cfg.work_dir}: is a file; name a folder")
    for transform in dicts_with(list(cfg.values()), lambda d: d.get("type") in CHECKED_TRANSFORMS):
        transform["type"] = CHECKED_TRANSFORMS[transform["type"]]
    return cfg


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    """Dotted keys and values, by the rules of MMEngine's `--cfg-options`."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("options", nargs="*", action=DictAction)
    return parser.parse_args(list(options)).options or {}


def for_training(cfg: Config, *, resume: str | None = None, amp: bool = False) -> None:
    """Apply the options of training to a config.

    Args:
        resume: `auto` for the newest checkpoint of the work directory, or a checkpoint's path.
        amp: float16 with dynamic loss scaling. Without a GPU it is left out, with a warning.

    Raises:
        InputError: a run in the work directory would be overwritten.
    """
    if resume is None and any(Path(cfg.work_dir).glob("*.pth")):
        raise InputError(
            f"--work-dir {cfg.work_dir}: holds the checkpoints of an earlier run; "
            "go on with --resume, or name another folder"
        )
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == "auto" else resume
    if amp and torch.cuda.is_available():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    elif amp:
        print_log(
            "--amp: no GPU here, training in float32", logger="current", level=logging.WARNING
        )
    visualizer = cfg.get("visualizer") or {}
    backends = visualizer.setdefault("vis_backends", [])
    if not any(backend["type"] == "TensorboardVisBackend" for backend in backends):
        backends.append({"type": "TensorboardVisBackend"})
    if not torch.cuda.is_available():
        # SyncBatchNorm has no CPU kernel for its statistics.
        for norm in dicts_with(cfg.model, lambda d: d.get("type") in ("SyncBN", "MMSyncBN")):
            norm["type"] = "BN"


def backbone_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's config in a detector, also in one that wraps another.

    Raises:
        InputError: there is none.
    """
    for part in (model, model.get("detector", {})):
        if "backbone" in part:
            return part["backbone"]
    raise InputError(f"model {model.get('type')}: has no backbone")


def dicts_with(node: Any, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """Every mapping in a config, at any depth, that `wanted` says yes to."""
    if isinstance(node, Mapping):
        if wanted(node):
            yield node  # type: ignore[misc]
        children: Any = list(node.values())
    else:
        children = node if isinstance(node, list | tuple) else ()
    for child in children:
        yield from dicts_with(child, wanted)
