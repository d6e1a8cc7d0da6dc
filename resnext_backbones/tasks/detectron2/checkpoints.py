"""Detectron2's checkpoints are whole here, and hold the pixels that the detector saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from resnext_backbones.io import atomic_write_text, flush
from resnext_backbones.weights import Preprocessing

PIXELS = "preprocessing"
"""Under this name a checkpoint says which pixels the detector saw."""

UNFINISHED = ".unfinished"
LAST = "last_checkpoint"
"""Detectron2's file with the name of the checkpoint to go on from."""


class Checkpointer(DetectionCheckpointer):
    """Gives a file its name when it is whole: a run killed while it saves has the one before."""

    def __init__(self, model: nn.Module, folder: str, pixels: Preprocessing, **kept: Any) -> None:
        super().__init__(model, folder, **kept, **{PIXELS: SeenPixels(pixels)})

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes a checkpoint, and notes it as the last one."""
        if self.save_dir and self.save_to_disk:
            for leftover in Path(self.save_dir).glob(f"*{UNFINISHED}.pth"):
                leftover.unlink()
        super().save(name + UNFINISHED, **kwargs)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Gives the file, which is written, its name."""
        written = Path(self.save_dir) / last_filename_basename
        name = written.name.replace(UNFINISHED, "")
        flush(written)
        written.replace(written.with_name(name))
        atomic_write_text(written.with_name(LAST), name)


class SeenPixels:
    """Holds the pixels as a part of a checkpoint: Detectron2 keeps them in the config alone."""

    def __init__(self, pixels: Preprocessing) -> None:
        self.state_dict = pixels.to_metadata

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Does nothing: they are compared before anything is loaded."""


def last_checkpoint(work_dir: str) -> str:
    """Returns the checkpoint with which a run in this folder goes on; "" if there is none."""
    checkpointer = DetectionCheckpointer(nn.Identity(), work_dir)
    return checkpointer.get_checkpoint_file() if checkpointer.has_checkpoint() else ""
