"""Detectron2's configs of both kinds answer what the checks and the engine ask."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from detectron2 import model_zoo
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_backbone, build_model
from omegaconf import DictConfig
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone, add_resnext_config
from resnext_backbones.engine.catalogue import check_variant, find_config, joined
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.fit import known_pixels
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.tasks.detectron2.overrides import check_overrides
from resnext_backbones.tasks.detectron2.zoo import plain_name
from resnext_backbones.weights import Preprocessing

OUTPUT = "./output"
"""Detectron2's own work directory, where nothing else is said."""

COPY = re.compile(r"^ *_target_:", re.MULTILINE)
"""A YAML file that a LazyConfig was written to has this."""

FOLDER = "detectron2"
"""Holds the LazyConfigs that come with this package, among its configs."""

KEYS = {
    "work_dir": ("OUTPUT_DIR", "train.output_dir"),
    "device": ("MODEL.DEVICE", "train.device"),
    "weights": ("MODEL.BACKBONE.WEIGHTS", "{trunk}.weights"),
    "checkpoint": ("MODEL.WEIGHTS", "train.init_checkpoint"),
    "freeze_at": ("MODEL.BACKBONE.FREEZE_AT", "{trunk}.freeze_at"),
    "norm": ("MODEL.RESNETS.NORM", "{trunk}.norm"),
    "adapt_input": ("MODEL.BACKBONE.ADAPT_INPUT", "{trunk}.adapt_input"),
    "pixel_order": ("INPUT.FORMAT", "dataloader.train.mapper.image_format"),
    "picture_order": ("", "model.input_format"),
    "pixel_mean": ("MODEL.PIXEL_MEAN", "model.pixel_mean"),
    "pixel_std": ("MODEL.PIXEL_STD", "model.pixel_std"),
    "batch": ("SOLVER.IMS_PER_BATCH", "dataloader.train.total_batch_size"),
    "seed": ("SEED", "train.seed"),
    "train_data": ("DATASETS.TRAIN", "dataloader.train.dataset.names"),
    "test_data": ("DATASETS.TEST", "dataloader.test.dataset.names"),
    "masks": ("MODEL.MASK_ON", "dataloader.train.mapper.use_instance_mask"),
    "keypoints": ("MODEL.KEYPOINT_ON", "dataloader.train.mapper.use_keypoint"),
    "amp": ("SOLVER.AMP.ENABLED", "train.amp.enabled"),
    "sizes": ("INPUT.MIN_SIZE_TRAIN", "dataloader.train.mapper.augmentations"),
}
"""The places of settings in a YAML file and in a LazyConfig; the trunk is within FPN or without."""

ORDERS = {"L": "grey"}
"""Detectron2's words for orders of channels that are called otherwise here."""

UNSET = {"weights": "", "freeze_at": 0, "norm": "FrozenBN"}
"""A trunk has these where its config does not say."""


class Experiment(ABC):
    """Holds a config that was read; each of `keys` is an attribute with the config's value.

    Attributes:
        keys: what the settings are called in the config, and on the command line.
        column: of `KEYS`.
        changed: what was set so that random values can be trained; "" where that is not asked for.
        has_evaluators: whether the config names what evaluates; else it follows the data sets.
        no_weights: stands for none in the config.
        between: stands between a key and its value on the command line.
    """

    column: int
    has_evaluators: bool
    no_weights: str | None
    between: str

    def __init__(self, path: Path, cfg: Any, trunk: str = "") -> None:
        self.path, self.cfg, self.changed = path, cfg, ""
        self.keys = {name: row[self.column].format(trunk=trunk) for name, row in KEYS.items()}

    def __getattr__(self, name: str) -> Any:
        if name not in KEYS:
            raise AttributeError(name)
        if not self.keys[name]:
            return None
        *parents, last = self.keys[name].split(".")
        value = reduce(getattr, parents, self.cfg).get(last)
        return UNSET.get(name) if value is None else value

    def set(self, **values: Any) -> None:
        """Sets values by the names of `keys`."""
        for name, value in values.items():
            *parents, last = self.keys[name].split(".")
            setattr(reduce(getattr, parents, self.cfg), last, value)

    @property
    def pixels(self) -> Preprocessing:
        """Says what the detector gives its backbone."""
        mean, std = (tuple(map(float, values)) for values in (self.pixel_mean, self.pixel_std))
        try:
            return Preprocessing(ORDERS.get(self.pixel_order, self.pixel_order), mean, std)
        except ValueError as error:
            keys = ", ".join(self.keys[name] for name in ("pixel_order", "pixel_mean", "pixel_std"))
            raise InputError(f"{keys}: {error}; Detectron2 reads no others") from error

    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        """Sets what is loaded: the trunk's weights, and a checkpoint of the whole detector."""
        if weights:
            self.use_weights(weights)
        elif self.weights:
            self.set(weights=self.no_weights)
        self.set(checkpoint=checkpoint)

    def use_weights(self, weights: str) -> None:
        """Sets the trunk's weights, and the pixels that they expect, if these are known and
        `adapt_input` does not fit the weights to the config's; InputError or WeightsError: there is
        no such file or alias.
        """
        self.set(weights=plain_name(weights))
        if not self.adapt_input and (pixels := known_pixels(self.weights)):
            mean, std = list(pixels.mean), list(pixels.std)
            self.set(pixel_order=pixels.order, pixel_mean=mean, pixel_std=std)
            if self.picture_order:
                self.set(picture_order=pixels.order)

    def start_at_random(self) -> None:
        """Sets no weights, and nothing frozen: neither stages nor norms' statistics; a GroupNorm or
        SyncBN stays what it is.
        """
        self.start_from()
        before = {"freeze_at": self.freeze_at, "norm": self.norm}
        after = {"freeze_at": 0, "norm": "BN" if self.norm == "FrozenBN" else self.norm}
        self.set(**after)
        self.changed = ", ".join(
            f"{self.keys[name]} {old}" + (f" -> {after[name]}" if old != after[name] else "")
            for name, old in before.items()
        )

    def datasets(self, *, train: bool) -> list[str]:
        """Returns the names of the data sets to train or to test on."""
        names = self.train_data if train else self.test_data
        return [names] if isinstance(names, str) else list(names)

    @abstractmethod
    def build(self) -> nn.Module:
        """Returns the detector, on its device."""

    @abstractmethod
    def _build_plain(self, *, trunk: bool) -> nn.Module:
        """Returns the backbone or the detector, without weights."""

    def detector(self) -> nn.Module:
        """Returns the detector without memory for weights; InputError names a wrong argument."""
        return self._on_meta(trunk=False)

    def backbone(self) -> ResNeXtBackbone | None:
        """Returns this package's backbone as `detector` does; None if it is another's."""
        built = self._on_meta(trunk=True).modules()
        return next((module for module in built if isinstance(module, ResNeXtBackbone)), None)

    def _on_meta(self, *, trunk: bool) -> nn.Module:
        try:
            with torch.device("meta"):
                return self._build_plain(trunk=trunk)
        except BUILD_ERRORS as error:
            raise InputError(f"config {self.path}: {error}") from error


class YamlExperiment(Experiment):
    """Holds one of Detectron2's YAML files, or one that inherits from it."""

    column, has_evaluators, no_weights, between = 0, False, "", " "

    @classmethod
    def read(
        cls, path: Path, overrides: Sequence[str], variant: str | None
    ) -> tuple[YamlExperiment, str]:
        """Reads a file, and names its runs; overrides are keys and values in turn."""
        if variant is not None:
            raise InputError(f"--variant {variant}: a YAML file says its network in MODEL.RESNETS")
        if len(overrides) % 2:
            raise InputError(f"overrides of a YAML config are pairs KEY VALUE: {overrides}")
        cfg = get_cfg()
        add_resnext_config(cfg)
        cfg.merge_from_file(str(path))
        cfg.merge_from_list(list(overrides))
        if cfg.MODEL.BACKBONE.WEIGHTS:
            cfg.MODEL.WEIGHTS = ""  # which would overwrite it
        # The zoo has files of one name in many folders.
        return cls(path, cfg), f"{path.parent.name}/{path.stem}"

    def _build_plain(self, *, trunk: bool) -> nn.Module:
        cfg = self.cfg.clone()
        cfg.MODEL.BACKBONE.WEIGHTS, cfg.MODEL.DEVICE = "", "meta"
        return build_backbone(cfg) if trunk else build_model(cfg)

    def build(self) -> nn.Module:
        return DefaultTrainer.build_model(self.cfg)


class LazyExperiment(Experiment):
    """Holds a LazyConfig."""

    column, no_weights, between = 1, None, "="
    has_evaluators = True  # one, or none and no evaluation

    def __init__(self, path: Path, cfg: Any) -> None:
        is_within = "bottom_up" in cfg.model.backbone
        super().__init__(path, cfg, "model.backbone.bottom_up" if is_within else "model.backbone")

    @classmethod
    def read(
        cls, path: Path, overrides: Sequence[str], variant: str | None
    ) -> tuple[LazyExperiment, str]:
        """Reads a file, and names its runs; overrides are `key.key=value`, of which
        `network.variant` is the longer `--variant`.
        """
        cfg = LazyConfig.load(str(path))
        if variant is not None:
            if "networks" not in cfg:
                raise InputError(f"--variant {variant}: config {path} has no table of networks")
            cfg.network.variant = variant
        check_overrides(cfg, overrides)
        cfg = LazyConfig.apply_overrides(cfg, list(overrides))
        name = path.stem
        if "networks" in cfg:
            check_variant(cfg.network.variant, cfg.networks, path)
            name = joined(cfg.network.variant, name)
        experiment = cls(path, cfg)
        if experiment.checkpoint and experiment.weights:
            experiment.set(weights=None)  # it would be overwritten
        return experiment, name

    def _build_plain(self, *, trunk: bool) -> nn.Module:
        model = copy.deepcopy(self.cfg.model)
        bottom_up = model.backbone.get("bottom_up", model.backbone)
        if "weights" in bottom_up:
            bottom_up.weights = None
        return instantiate(bottom_up if trunk else model)

    def build(self) -> nn.Module:
        return instantiate(self.cfg.model).to(self.device)


def read_experiment(
    name: str,
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    work_dir: str | None = None,
) -> Experiment:
    """Reads a config; InputError: there is none, it cannot be read, or takes no such network.

    Args:
        name: a path; the name of a LazyConfig of this package; or of a YAML file in Detectron2's
            model zoo, such as `COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml`.
        overrides: as the kind of config has them: `key=value`, or `KEY VALUE`.
        variant: the network of a LazyConfig, of those in its `networks`; None is its own.
        work_dir: where everything is written; None is the config's, or work_dirs/NAME.
    """
    is_yaml = name.endswith((".yaml", ".yml"))
    path = _yaml_file(name) if is_yaml else find_config(name, folder=FOLDER)
    kind = YamlExperiment if is_yaml else LazyExperiment
    experiment: Experiment
    try:
        experiment, run_name = kind.read(path, overrides, variant)
    except InputError:
        raise
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(f"config {path}: {type(error).__name__}: {error}") from error
    if work_dir or experiment.work_dir == OUTPUT:
        experiment.set(work_dir=work_dir or f"work_dirs/{run_name}")
    if not torch.cuda.is_available():
        experiment.set(device="cpu")
    check_folder("--work-dir", experiment.work_dir)
    return experiment


def _yaml_file(name: str) -> Path:
    if Path(name).is_file():
        if COPY.search(Path(name).read_text(encoding="utf-8", errors="replace")):
            raise InputError(
                f"config {name}: is the copy of a LazyConfig, as a run leaves it; name the config "
                "that it was made from"
            )
        return Path(name)
    try:
        return Path(model_zoo.get_config_file(name))
    except RuntimeError as error:
        raise InputError(f"config {name}: no such file, and none in Detectron2's zoo") from error


def use_weights(model: DictConfig, dataloader: DictConfig, weights: str) -> None:
    """Sets in a LazyConfig as `Experiment.use_weights` does.

    Args:
        weights: a path, an address or an alias of docs/weights.md.
    """
    LazyExperiment(Path(), SimpleNamespace(model=model, dataloader=dataloader)).use_weights(weights)
