"""Detectron2's YAML files as experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer
from detectron2.modeling import build_backbone, build_model
from torch import nn

from resnext_backbones.adapters.detectron2 import add_resnext_config
from resnext_backbones.engine.fit import known_pixels
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.experiments import OUTPUT, Experiment, floats
from resnext_backbones.tasks.detectron2.zoo import plain_name
from resnext_backbones.weights import Preprocessing


class YamlExperiment(Experiment):
    """One of Detectron2's YAML files, or one that inherits from it."""

    checkpoint_key = "MODEL.WEIGHTS"
    batch_key = "SOLVER.IMS_PER_BATCH"
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
        if work_dir or cfg.OUTPUT_DIR == OUTPUT:  # the zoo has files of one name in many folders
            cfg.OUTPUT_DIR = work_dir or str(Path("work_dirs") / path.parent.name / path.stem)
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
            self.cfg.INPUT.FORMAT, *(floats(v) for v in (model.PIXEL_MEAN, model.PIXEL_STD))
        )

    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        model = self.cfg.MODEL
        model.BACKBONE.WEIGHTS, model.WEIGHTS = plain_name(weights), checkpoint
        pixels = known_pixels(model.BACKBONE.WEIGHTS) if weights else None
        if pixels:
            self.cfg.INPUT.FORMAT = pixels.order
            model.PIXEL_MEAN, model.PIXEL_STD = list(pixels.mean), list(pixels.std)

    @property
    def _frozen(self) -> tuple[int, str]:
        return self.cfg.MODEL.BACKBONE.FREEZE_AT, self.cfg.MODEL.RESNETS.NORM

    def _unfreeze(self, norm: str) -> None:
        self.cfg.MODEL.BACKBONE.FREEZE_AT, self.cfg.MODEL.RESNETS.NORM = 0, norm

    def datasets(self, *, train: bool) -> list[str]:
        return list(self.cfg.DATASETS.TRAIN if train else self.cfg.DATASETS.TEST)

    def _build(self) -> nn.Module:
        return build_backbone(self._without_weights())

    def _build_detector(self) -> nn.Module:
        return build_model(self._without_weights())

    def _without_weights(self) -> CfgNode:
        cfg: CfgNode = self.cfg.clone()
        cfg.MODEL.BACKBONE.WEIGHTS, cfg.MODEL.DEVICE = "", "meta"
        return cfg

    def build(self) -> nn.Module:
        return DefaultTrainer.build_model(self.cfg)

    @property
    def batch(self) -> int:
        return self.cfg.SOLVER.IMS_PER_BATCH

    @property
    def has_evaluators(self) -> bool:
        return False
