"""A config tells which engine it is for: whose networks it has. No library is imported for that."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.errors import InputError

if TYPE_CHECKING:
    from resnext_backbones.tasks.run import Task

DETECTRON2, MMDETECTION = "detectron2", "mmdetection"
TORCHVISION, PRETRAINING = "torchvision", "classification"
"""Folders of `tasks`."""

OWN_MODELS = {
    "resnext_backbones.TorchvisionDetector": TORCHVISION,
    "resnext_backbones.TorchvisionSegmenter": TORCHVISION,
    "resnext_backbones.ImageClassifier": PRETRAINING,
}
"""Types of models that are this package's own; all others are MMDetection's."""

OTHERS = {
    PRETRAINING: "for a classifier: resnext pretrain",
    DETECTRON2: "Detectron2's: resnext train, or resnext train-detectron2 --eval-only",
}
"""Their configs are for another command."""

LAZY = ("detectron2", "omegaconf")
"""A LazyConfig imports these, if not a neighbour."""


def task_of(engine: str, command: str) -> Task:
    """Returns what a command calls for an engine's configs; InputError names another command."""
    if engine in OTHERS:
        raise InputError(f"{command}: the config is {OTHERS[engine]}")
    if engine == MMDETECTION:
        from resnext_backbones.tasks.mmdetection.run import TASK
    else:
        from resnext_backbones.tasks.torchvision.run import TASK
    return TASK


def engine_of(name: str) -> str:
    """Returns the folder of `tasks` that a config is for; InputError: it is not there, or wrong.

    Args:
        name: a path or a name, as `find_config` takes; or that of a YAML file in Detectron2's zoo.
    """
    if name.endswith((".yaml", ".yml")) and not _is_yaml_of_mmengine(Path(name)):
        return DETECTRON2
    path = find_config(name)
    if _is_lazy(path):
        return DETECTRON2
    from mmengine.config import Config

    from resnext_backbones.engine.config import naming

    try:
        with naming(path):
            cfg = Config.fromfile(path, import_custom_modules=False)
    except InputError as error:
        # What it inherits from is not installed, which the command that needs it says.
        cause = error.__cause__
        missing = getattr(cause, "name", None) or str(cause)
        if isinstance(cause, ImportError) and ("mmcv" in missing or "mmdet" in missing):
            return MMDETECTION
        raise
    return OWN_MODELS.get(str((cfg.get("model") or {}).get("type")), MMDETECTION)


def networks_for(name: str, folder: str = "") -> list[str]:
    """Returns the networks that a config takes as `--variant`; a config can raise anything.

    Args:
        name, folder: as `find_config` takes.
    """
    path = str(find_config(name, folder=folder))
    if engine_of(path) == DETECTRON2:
        from resnext_backbones.tasks.detectron2.experiments import read_experiment

        return list(read_experiment(path).cfg.networks)
    from mmengine.config import Config

    from resnext_backbones.engine.config import networks_of

    return networks_of(Config.fromfile(path, import_custom_modules=False))


def _is_yaml_of_mmengine(path: Path) -> bool:
    """Tells whether a YAML file has a `model`, or a `_base_`, as MMEngine's do.

    Detectron2's have `MODEL` and `_BASE_`; the `model` of a LazyConfig it wrote has a `_target_`.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    if not isinstance(content, dict):
        return False
    model = content.get("model")
    return "_base_" in content or (isinstance(model, dict) and "_target_" not in model)


def _is_lazy(path: Path) -> bool:
    """Tells whether a file is a LazyConfig: it says by imports what it is made of.

    MMEngine's configs do so within `with read_base()`, or inherit by `_base_`.
    """
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError):
        return False
    assigned = {ast.unparse(t) for s in body if isinstance(s, ast.Assign) for t in s.targets}
    imported = (name.partition(".")[0] for name in _imported(body))
    return "_base_" not in assigned and any(root in ("", *LAZY) for root in imported)


def _imported(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            yield "." * statement.level + (statement.module or "")
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
