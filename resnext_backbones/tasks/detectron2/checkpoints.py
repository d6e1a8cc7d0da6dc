"""Detectron2's checkpoints: each one whole, and with the pixels that the detector saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from resnext_backbones.io import atomic_write_text, flush
from resnext_backbones.weights import Preprocessing

PIXELS = "preprocessing"
"""Under which a checkpoint says which pixels the detector saw."""

UNFINISHED = ".unfinished"
LAST = "last_checkpoint"
"""Detectron2's file with the name of the checkpoint to go on from."""


class Checkpointer(DetectionCheckpointer):
    """Detectron2's, whose files get their names when they are whole.

    A run that is killed while it saves goes on from the checkpoint before.
    """

    def save(self, name: str, **kwargs: Any) -> None:
        """Write a checkpoint, and note it as the last one."""
        if self.save_dir and self.save_to_disk:
            for leftover in Path(self.save_dir).glob(f"*{UNFINISHED}.pth"):
                leftover.unlink()
        super().save(name + UNFINISHED, **kwargs)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Called when the file is written."""
        folder, name = Path(self.save_dir), last_filename_basename.replace(UNFINISHED, "")
        flush(folder / last_filename_basename)
        (folder / last_filename_basename).replace(folder / name)
        atomic_write_text(folder / LAST, name)


class SeenPixels:
    """The pixels, as a part of a checkpoint: Detectron2 keeps them in the config alone."""

    def __init__(self, pixels: Preprocessing) -> None:
        self._pixels = pixels

    def state_dict(self) -> dict[str, str]:
        """What is saved."""
        return self._pixels.to_metadata()

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Nothing: they are compared before anything is loaded."""


def last_checkpoint(work_dir: str) -> str:
    """The checkpoint with which a run in this folder goes on; "" if there is none."""
    checkpointer = DetectionCheckpointer(nn.Identity(), work_dir)
    return checkpointer.get_checkpoint_file() if checkpointer.has_checkpoint() else ""
