"""What the checks and the engine ask of a config, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.errors import BUILD_ERRORS, InputError
from resnext_backbones.weights import Preprocessing

OUTPUT = "./output"
"""Detectron2's own work directory, where nothing else is said."""


class Experiment(ABC):
    """A config that was read, and what the checks and the engine ask of it.

    Attributes:
        path: of the config.
        cfg: the config itself.
        changed: what was set so that random values can be trained; "" where that is not asked for.
        checkpoint_key, freeze_key, norm_key, batch_key: what the settings are called on the command
            line.
    """

    checkpoint_key: str
    batch_key: str
    freeze_key: str
    norm_key: str

    def __init__(self, path: Path, cfg: Any) -> None:
        self.path = path
        self.cfg = cfg
        self.changed = ""

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

    @property
    @abstractmethod
    def batch(self) -> int:
        """Images a step, over all processes."""

    @property
    @abstractmethod
    def has_evaluators(self) -> bool:
        """Whether the config names what evaluates; else it follows the data sets."""

    @abstractmethod
    def start_from(self, *, weights: str = "", checkpoint: str = "") -> None:
        """Set both."""

    def start_at_random(self) -> None:
        """Set no weights, and that random values can be trained: no frozen stage and no norm whose
        statistics never change. A GroupNorm or SyncBN stays what it is."""
        self.start_from()
        before = self._frozen
        self._unfreeze("BN" if before[1] == "FrozenBN" else before[1])
        keys = self.freeze_key, self.norm_key
        self.changed = ", ".join(
            f"{key} {old} -> {new}" if old != new else f"{key} {old}"
            for key, old, new in zip(keys, before, self._frozen, strict=True)
        )

    @property
    @abstractmethod
    def _frozen(self) -> tuple[int, str]:
        """Returns how many stages are frozen, the stem among them, and the kind of norm."""

    @abstractmethod
    def _unfreeze(self, norm: str) -> None:
        """Freeze nothing, and set the kind of norm."""

    @abstractmethod
    def datasets(self, *, train: bool) -> list[str]:
        """The names of the data sets to train or to test on."""

    @abstractmethod
    def _build(self) -> nn.Module:
        """The backbone, without weights."""

    @abstractmethod
    def _build_detector(self) -> nn.Module:
        """The detector, without weights."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The detector, on its device."""

    def detector(self) -> nn.Module:
        """The detector, without memory for weights.

        Raises:
            InputError: an argument is out of its range; the message names it.
        """
        return self._on_meta(self._build_detector)

    def backbone(self) -> ResNeXtBackbone | None:
        """This package's backbone in the detector, without memory for weights; None if it is
        another's.

        Raises:
            InputError: an argument is out of its range; the message names it.
        """
        built = self._on_meta(self._build)
        own = (module for module in built.modules() if isinstance(module, ResNeXtBackbone))
        return next(own, None)

    def _on_meta(self, build: Callable[[], nn.Module]) -> nn.Module:
        try:
            with torch.device("meta"):
                return build()
        except BUILD_ERRORS as error:
            raise InputError(f"config {self.path}: {error}") from error


def floats(values: Sequence[Any]) -> tuple[float, ...]:
    """As numbers of Python, whatever the config holds."""
    return tuple(map(float, values))
