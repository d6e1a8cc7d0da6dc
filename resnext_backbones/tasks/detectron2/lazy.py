"""Detectron2's LazyConfigs as experiments."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import LazyConfig, instantiate
from omegaconf import DictConfig
from torch import nn

from resnext_backbones.engine.fit import known_pixels
from resnext_backbones.engine.networks import check_variant, joined
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import OUTPUT, Experiment, floats
from resnext_backbones.tasks.detectron2.zoo import plain_name
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.registry import row_named


class LazyExperiment(Experiment):
    """A LazyConfig."""

    checkpoint_key = "train.init_checkpoint"
    batch_key = "dataloader.train.total_batch_size"
    freeze_key = "model.backbone.bottom_up.freeze_at"
    norm_key = "model.backbone.bottom_up.norm"

    @classmethod
    def read(
        cls,
        path: Path,
        overrides: Sequence[str],
        work_dir: str | None,
        variant: str | None = None,
    ) -> LazyExperiment:
        """Read a file; overrides are `key.key=value`, `network.variant` the longer `--variant`."""
        cfg = LazyConfig.load(str(path))
        if variant is not None:
            if "networks" not in cfg:
                raise InputError(f"--variant {variant}: config {path} has no table of networks")
            cfg.network.variant = variant
        cfg = LazyConfig.apply_overrides(cfg, list(overrides))
        name = path.stem
        if "networks" in cfg:
            check_variant(cfg.network.variant, cfg.networks, path)
            name = joined(cfg.network.variant, name)
        if work_dir or cfg.train.output_dir == OUTPUT:
            cfg.train.output_dir = work_dir or str(Path("work_dirs") / name)
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
        return Preprocessing(order, *(floats(v) for v in (model.pixel_mean, model.pixel_std)))

    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        if weights:
            use_weights(self.cfg.model, self.cfg.dataloader, weights)
        elif self.weights:
            _bottom_up(self.cfg.model).weights = None
        self.cfg.train.init_checkpoint = checkpoint

    @property
    def _frozen(self) -> tuple[int, str]:
        bottom_up = _bottom_up(self.cfg.model)
        return bottom_up.get("freeze_at", 0), bottom_up.get("norm", "FrozenBN")

    def _unfreeze(self, norm: str) -> None:
        _bottom_up(self.cfg.model).update(freeze_at=0, norm=norm)

    def datasets(self, *, train: bool) -> list[str]:
        loader = self.cfg.dataloader.train if train else self.cfg.dataloader.test
        names = loader.dataset.names
        return [names] if isinstance(names, str) else list(names)

    def _build(self) -> nn.Module:
        return instantiate(_bottom_up(self._without_weights()))

    def _build_detector(self) -> nn.Module:
        return instantiate(self._without_weights())

    def _without_weights(self) -> DictConfig:
        model = copy.deepcopy(self.cfg.model)
        if "weights" in _bottom_up(model):
            _bottom_up(model).weights = None
        return model

    def build(self) -> nn.Module:
        return instantiate(self.cfg.model).to(self.cfg.train.device)

    @property
    def batch(self) -> int:
        return self.cfg.dataloader.train.total_batch_size

    @property
    def has_evaluators(self) -> bool:
        return True  # one, or none and no evaluation


def networks_of(*aliases: str) -> dict[str, dict[str, Any]]:
    """Returns a table of networks for a LazyConfig, by variant: arguments of `ResNeXtBackbone`,
    published weights, and the pixels that these expect. Nothing is downloaded.

    Args:
        aliases: of docs/weights.md, whose pixels it says.

    Raises:
        WeightsError: there is no such alias.
    """
    found = {}
    for alias in aliases:
        row = row_named(alias)
        network, pixels = VARIANTS[row.variant], row.source.preprocessing
        found[row.variant] = {
            "depth": network.depth,
            "num_groups": network.cardinality,
            "width_per_group": network.base_width,
            "weights": alias,
            "pixel_mean": list(pixels.mean),
            "pixel_std": list(pixels.std),
            "image_format": pixels.order,
        }
    return found


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
