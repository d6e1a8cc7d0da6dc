"""Detectron2's two kinds of configs, LazyConfigs and YAML files, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_backbone
from omegaconf import DictConfig
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone, add_resnext_config
from resnext_backbones.detection.detectron2.zoo import plain_name
from resnext_backbones.detection.fit import known_pixels
from resnext_backbones.runs.errors import InputError
from resnext_backbones.runs.find import find_config
from resnext_backbones.weights import Preprocessing

FOLDER = "detectron2"
"""Of the LazyConfigs that come with this package, among its configs."""

BUILD_ERRORS = (ValueError, TypeError, KeyError, AssertionError)


class Experiment(ABC):
    """A config that was read, and what the checks and the engine ask of it.

    Attributes:
        path: of the config.
        cfg: the config itself.
        checkpoint_key, freeze_key, norm_key: what the settings are called on the command line.
    """

    checkpoint_key: str
    freeze_key: str
    norm_key: str

    def __init__(self, path: Path, cfg: Any) -> None:
        self.path = path
        self.cfg = cfg

    @property
    @abstractmethod
    def work_dir(self) -> str:
        """Where everything is written."""

    @property
    @abstractmethod
    def weights(self) -> str:
        """Of the trunk alone, loaded as it is built; "" for none."""

    @property
    @abstractmethod
    def checkpoint(self) -> str:
        """What Detectron2's checkpointer loads into the detector; "" for nothing."""

    @property
    @abstractmethod
    def pixels(self) -> Preprocessing:
        """What the detector gives its backbone."""

    @abstractmethod
    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        """Set both."""

    @abstractmethod
    def datasets(self, *, train: bool) -> list[str]:
        """The names of the data sets to train or to test on."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """The backbone, without weights."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The detector, on its device."""

    def backbone(self) -> ResNeXtBackbone | None:
        """This package's backbone in the detector, without memory for weights; None if it is
        another's.

        Raises:
            InputError: an argument is out of its range; the message names it.
        """
        try:
            with torch.device("meta"):
                built = self._build()
        except BUILD_ERRORS as error:
            raise InputError(f"config {self.path}: {error}") from error
        own = (module for module in built.modules() if isinstance(module, ResNeXtBackbone))
        return next(own, None)


class LazyExperiment(Experiment):
    """A LazyConfig."""

    checkpoint_key = "train.init_checkpoint"
    freeze_key = "model.backbone.bottom_up.freeze_at"
    norm_key = "model.backbone.bottom_up.norm"

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str], work_dir: str | None) -> LazyExperiment:
        """Read a file; overrides are `key.key=value`."""
        cfg = LazyConfig.apply_overrides(LazyConfig.load(str(path)), list(overrides))
        cfg.train.output_dir = work_dir or str(Path("work_dirs") / path.stem)
        if not torch.cuda.is_available():
            cfg.train.device = "cpu"
        if cfg.train.init_checkpoint and "weights" in _bottom_up(cfg.model):
            _bottom_up(cfg.model).weights = None  # it would be overwritten
        return cls(path, cfg)

    @property
    def work_dir(self) -> str:
        return self.cfg.train.output_dir

    @property
    def weights(self) -> str:
        return _bottom_up(self.cfg.model).get("weights") or ""

    @property
    def checkpoint(self) -> str:
        return self.cfg.train.init_checkpoint

    @property
    def pixels(self) -> Preprocessing:
        model = self.cfg.model
        order = self.cfg.dataloader.train.mapper.image_format
        return Preprocessing(order, *(_floats(v) for v in (model.pixel_mean, model.pixel_std)))

    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        if weights:
            use_weights(self.cfg.model, self.cfg.dataloader, weights)
        elif self.weights:
            _bottom_up(self.cfg.model).weights = None
        self.cfg.train.init_checkpoint = checkpoint

    def datasets(self, *, train: bool) -> list[str]:
        loader = self.cfg.dataloader.train if train else self.cfg.dataloader.test
        names = loader.dataset.names
        return [names] if isinstance(names, str) else list(names)

    def _build(self) -> nn.Module:
        options = _bottom_up(self.cfg.model).copy()
        if "weights" in options:
            options.weights = None
        return instantiate(options)

    def build(self) -> nn.Module:
        return instantiate(self.cfg.model).to(self.cfg.train.device)


class YamlExperiment(Experiment):
    """One of Detectron2's YAML files, or one that inherits from it."""

    checkpoint_key = "MODEL.WEIGHTS"
    freeze_key = "MODEL.BACKBONE.FREEZE_AT"
    norm_key = "MODEL.RESNETS.NORM"

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str], work_dir: str | None) -> YamlExperiment:
        """Read a file; overrides are keys and values in turn."""
        if len(overrides) % 2:
            raise InputError(f"overrides of a YAML config are pairs KEY VALUE: {overrides}")
        cfg = get_cfg()
        add_resnext_config(cfg)
        cfg.merge_from_file(str(path))
        cfg.merge_from_list(list(overrides))
        cfg.OUTPUT_DIR = work_dir or str(Path("work_dirs") / path.stem)
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        if cfg.MODEL.BACKBONE.WEIGHTS:
            cfg.MODEL.WEIGHTS = ""  # which would overwrite it
        return cls(path, cfg)

    @property
    def work_dir(self) -> str:
        return self.cfg.OUTPUT_DIR

    @property
    def weights(self) -> str:
        return self.cfg.MODEL.BACKBONE.WEIGHTS

    @property
    def checkpoint(self) -> str:
        return self.cfg.MODEL.WEIGHTS

    @property
    def pixels(self) -> Preprocessing:
        model = self.cfg.MODEL
        return Preprocessing(
            self.cfg.INPUT.FORMAT, *(_floats(v) for v in (model.PIXEL_MEAN, model.PIXEL_STD))
        )

    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        model = self.cfg.MODEL
        model.BACKBONE.WEIGHTS, model.WEIGHTS = plain_name(weights), checkpoint
        pixels = known_pixels(model.BACKBONE.WEIGHTS) if weights else None
        if pixels:
            self.cfg.INPUT.FORMAT = pixels.order
            model.PIXEL_MEAN, model.PIXEL_STD = list(pixels.mean), list(pixels.std)

    def datasets(self, *, train: bool) -> list[str]:
        return list(self.cfg.DATASETS.TRAIN if train else self.cfg.DATASETS.TEST)

    def _build(self) -> nn.Module:
        cfg: CfgNode = self.cfg.clone()
        cfg.MODEL.BACKBONE.WEIGHTS = ""
        return build_backbone(cfg)

    def build(self) -> nn.Module:
        return DefaultTrainer.build_model(self.cfg)


def read_experiment(
    name: str, overrides: Sequence[str] = (), *, work_dir: str | None = None
) -> Experiment:
    """Read a config.

    Args:
        name: a path; the name of a LazyConfig of this package; or of a YAML file in Detectron2's
            model zoo, such as `COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml`.
        overrides: as the kind of config has them: `key=value`, or `KEY VALUE`.
        work_dir: where everything is written; None is work_dirs/NAME.

    Raises:
        InputError: there is no such config, or it cannot be read.
    """
    is_yaml = name.endswith((".yaml", ".yml"))
    path = _zoo_file(name) if is_yaml else find_config(name, folder=FOLDER)
    kind = YamlExperiment if is_yaml else LazyExperiment
    try:
        experiment: Experiment = kind.read(path, overrides, work_dir)
    except InputError:
        raise
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(f"config {path}: {type(error).__name__}: {error}") from error
    if Path(experiment.work_dir).exists() and not Path(experiment.work_dir).is_dir():
        raise InputError(f"--work-dir {experiment.work_dir}: is a file; name a folder")
    return experiment


def use_weights(model: DictConfig, dataloader: DictConfig, weights: str) -> None:
    """Set the backbone's weights in a LazyConfig, and the pixels that they expect, if known.

    Args:
        model, dataloader: of the config.
        weights: a path, an address or an alias of docs/weights.md.

    Raises:
        InputError: there are no such weights.
    """
    weights = plain_name(weights)
    _bottom_up(model).weights = weights
    if pixels := known_pixels(weights):
        model.pixel_mean, model.pixel_std = list(pixels.mean), list(pixels.std)
        dataloader.train.mapper.image_format = pixels.order
        if "input_format" in model:  # for its pictures
            model.input_format = pixels.order


def _bottom_up(model: DictConfig) -> DictConfig:
    """The config of the trunk, within FPN or without."""
    backbone = model.backbone
    return backbone.bottom_up if "bottom_up" in backbone else backbone


def _floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _zoo_file(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    try:
        return Path(model_zoo.get_config_file(name))
    except RuntimeError as error:
        raise InputError(f"config {name}: no such file, and none in Detectron2's zoo") from error
