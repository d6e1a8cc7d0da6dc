"""The config decides the engine: whose networks it has, without importing their library."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.errors import InputError

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
"""Whose configs are for another command, and which."""

LAZY = ("detectron2", "omegaconf")
"""What a LazyConfig imports, if not a neighbour."""


@dataclass(frozen=True)
class Task:
    """What the commands `train` and `test` call of a task on MMEngine's runner.

    Attributes:
        load_config: as `engine.config.read_config`.
        use_weights: sets the backbone's weights in a config, and says what that changed.
        train, evaluate: of the task's module `run`.
    """

    load_config: Callable[..., Any]
    use_weights: Callable[..., str]
    train: Callable[..., Path]
    evaluate: Callable[..., dict[str, float]]


def task_of(engine: str, command: str) -> Task:
    """Returns what a command calls for the configs of an engine.

    Args:
        engine: of `engine_of`.
        command: its name, for the message.

    Raises:
        InputError: another command is for them.
    """
    if engine in OTHERS:
        raise InputError(f"{command}: the config is {OTHERS[engine]}")
    if engine == MMDETECTION:
        from resnext_backbones.tasks.mmdetection import config, run, weights

        return Task(config.load_config, weights.use_weights, run.train, run.evaluate)
    from resnext_backbones.engine.config import read_config
    from resnext_backbones.tasks.torchvision import run as torchvision
    from resnext_backbones.tasks.torchvision.weights import use_weights

    return Task(read_config, use_weights, torchvision.train, torchvision.evaluate)


def engine_of(name: str) -> str:
    """Returns the folder of `tasks` that a config is for.

    Args:
        name: a path or a name, as `find_config` takes; or that of a YAML file in Detectron2's zoo.

    Raises:
        InputError: there is no such config, or it cannot be read.
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
        if _lacks_mmdetection(error.__cause__):  # which the command that needs it says
            return MMDETECTION
        raise
    kind = (cfg.get("model") or {}).get("type")
    return OWN_MODELS.get(str(kind), MMDETECTION)


def networks_for(name: str, folder: str = "") -> list[str]:
    """Returns the networks that a config takes as `--variant`.

    Args:
        name, folder: as `find_config` takes.

    Raises:
        Exception: whatever goes wrong with a config, which is a program.
    """
    path = str(find_config(name, folder=folder))
    if engine_of(path) == DETECTRON2:
        from resnext_backbones.tasks.detectron2.read import read_experiment

        return list(read_experiment(path).cfg.networks)
    from mmengine.config import Config

    from resnext_backbones.engine.config import networks_of

    return networks_of(Config.fromfile(path, import_custom_modules=False))


def _lacks_mmdetection(error: BaseException | None) -> bool:
    """Tells whether a config could not be read because what it inherits from is not installed."""
    missing = getattr(error, "name", None) or str(error)
    return isinstance(error, ImportError) and any(name in missing for name in ("mmcv", "mmdet"))


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
    return "_base_" not in assigned and any(map(_is_of_lazy, _imported(body)))


def _imported(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            yield "." * statement.level + (statement.module or "")
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


def _is_of_lazy(module: str) -> bool:
    return module.startswith(".") or module.partition(".")[0] in LAZY
