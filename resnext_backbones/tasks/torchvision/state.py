"""The state of a run between two steps, in files that are whole or not there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resnext_backbones.engine.journal import enter, newest_whole
from resnext_backbones.errors import InputError, some
from resnext_backbones.io import whole_file
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.weights.files import read_file

if TYPE_CHECKING:
    from resnext_backbones.tasks.torchvision.loop import Trainer

LOGGER = logging.getLogger("resnext_backbones.torchvision")

OF_A_RUN = ("network", "model", "optimizer", "scaler", "seed", "epoch", "step", "steps")


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        seed: of the run.
        epoch: that were finished.
        step: that were done in the epoch behind these.
        steps: an epoch has.
    """

    seed: int
    epoch: int = 0
    step: int = 0
    steps: int = 0

    @property
    def done(self) -> int:
        """Steps over all epochs."""
        return self.epoch * self.steps + self.step


class Checkpoints:
    """What writes the checkpoints of a work directory.

    Args:
        keep: how many stay.
        minutes: between two within an epoch; 0 is none.
    """

    def __init__(self, work_dir: Path, *, keep: int, minutes: float) -> None:
        self.work_dir, self.keep, self.minutes = work_dir, keep, minutes
        self.saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for one within an epoch."""
        return 0 < 60 * self.minutes < time.monotonic() - self.saved

    def save(self, trainer: Trainer, network: Network) -> None:
        """Write one; where that fails, the older ones stay, and training goes on."""
        progress = trainer.progress
        within = f"iter_{progress.done}" if progress.step else f"epoch_{progress.epoch}"
        path = self.work_dir / f"{within}.pth"
        content = {
            "network": network.to_checkpoint(),
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            **vars(progress),
        }
        try:
            with whole_file(path) as temporary:
                torch.save(content, temporary)
            enter(self.work_dir, path, progress.done, self.keep)
        except (OSError, RuntimeError) as error:  # PyTorch's writer says it in its own way
            LOGGER.error("checkpoint %s: not written: %s; training goes on", path, error)
        self.saved = time.monotonic()


def find_checkpoint(work_dir: Path, wanted: str) -> Path | None:
    """`auto` is the newest of the work directory; None where it has none.

    Raises:
        InputError: there is no such file, or none that is whole.
    """
    if wanted == "auto":
        return newest_whole(work_dir, LOGGER.warning)
    if not Path(wanted).is_file():
        raise InputError(f"checkpoint {wanted}: there is no such file")
    return Path(wanted)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What one holds.

    Raises:
        InputError: it is none of a run of this kind.
        WeightsError: it cannot be read.
    """
    content = dict(read_file(path))
    if absent := [key for key in OF_A_RUN if key not in content]:
        raise InputError(
            f"checkpoint {path}: has no {', '.join(absent)}, so this tool did not write it"
        )
    return content


def load_network(model: nn.Module, content: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into its network.

    Raises:
        InputError: they do not fit.
    """
    own, state = model.state_dict(), content["model"]
    wrong = sorted(own.keys() ^ state.keys()) or [
        key for key, value in own.items() if value.shape != state[key].shape
    ]
    if wrong:
        raise InputError(f"checkpoint {path}: {len(wrong)} tensors do not fit: {some(wrong)}")
    model.load_state_dict(state)


def load_trainer(trainer: Trainer, content: dict[str, Any], path: Path) -> None:
    """Go on where a checkpoint's run was; an epoch of another length begins anew.

    Raises:
        InputError: its optimiser trained other parameters.
    """
    progress = trainer.progress
    try:
        trainer.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, KeyError) as error:
        raise InputError(f"checkpoint {path}: its optimiser does not fit: {error}") from error
    if content["scaler"] and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(content["scaler"])
    progress.epoch, progress.step = content["epoch"], content["step"]
    if progress.step and content["steps"] != progress.steps:
        LOGGER.warning(
            f"epoch {progress.epoch + 1} has {progress.steps} steps, and had {content['steps']} "
            "before: it begins anew"
        )
        progress.step = 0
