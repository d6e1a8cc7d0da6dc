"""Reading a config of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2 import model_zoo

from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import Experiment
from resnext_backbones.tasks.detectron2.lazy import LazyExperiment
from resnext_backbones.tasks.detectron2.yaml_files import YamlExperiment

FOLDER = "detectron2"
"""Of the LazyConfigs that come with this package, among its configs."""


def read_experiment(
    name: str,
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    work_dir: str | None = None,
) -> Experiment:
    """Read a config.

    Args:
        name: a path; the name of a LazyConfig of this package; or of a YAML file in Detectron2's
            model zoo, such as `COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml`.
        overrides: as the kind of config has them: `key=value`, or `KEY VALUE`.
        variant: the network of a LazyConfig, of those in its `networks`; None is its own.
        work_dir: where everything is written; None is work_dirs/NAME.

    Raises:
        InputError: there is no such config, it cannot be read, or takes no such network.
    """
    is_yaml = name.endswith((".yaml", ".yml"))
    if is_yaml and variant is not None:
        raise InputError(f"--variant {variant}: a YAML file says its network in MODEL.RESNETS")
    path = _zoo_file(name) if is_yaml else find_config(name, folder=FOLDER)
    try:
        experiment: Experiment = (
            YamlExperiment.read(path, overrides, work_dir)
            if is_yaml
            else LazyExperiment.read(path, overrides, work_dir, variant)
        )
    except InputError:
        raise
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(f"config {path}: {type(error).__name__}: {error}") from error
    if Path(experiment.work_dir).exists() and not Path(experiment.work_dir).is_dir():
        raise InputError(f"--work-dir {experiment.work_dir}: is a file; name a folder")
    return experiment


def _zoo_file(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    try:
        return Path(model_zoo.get_config_file(name))
    except RuntimeError as error:
        raise InputError(f"config {name}: no such file, and none in Detectron2's zoo") from error
