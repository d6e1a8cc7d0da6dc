"""Detectron2's checkpoints are whole here, and hold the pixels that the detector saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import Checkpointer as FvcoreCheckpointer
from torch import Tensor, nn

from resnext_backbones.io import atomic_write_text, flush
from resnext_backbones.models import ResNeXt
from resnext_backbones.weights import Preprocessing, WeightsError
from resnext_backbones.weights.compare import check_said
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.memory import in_memory
from resnext_backbones.weights.preprocessing import SEEN
from resnext_backbones.weights.sources import HUB, locate

UNFINISHED = ".unfinished"
LEFT_OUT = ("_momentum", "num_batches_tracked")
"""Caffe2's and pycls's files have tensors of these names beside the weights."""

LAST = "last_checkpoint"
"""Detectron2's file with the name of the checkpoint to go on from."""


class _Reader(FvcoreCheckpointer):
    """Reads what torch.save wrote, and safetensors, and runs nothing; Detectron2's asks it."""

    def _load_file(self, f: str) -> dict[str, Any]:
        return dict(in_memory(read_file(f)))


class SafeCheckpointer(DetectionCheckpointer, _Reader):
    """Loads as Detectron2's checkpointer does, but runs nothing that a file names.

    Detectron2 unpickles `.pkl` files, and leaves those of `torch.save` to PyTorch.
    """

    def _load_file(self, filename: str) -> dict[str, Any]:
        """Returns what a file holds, with the weights under `model`; WeightsError: it is damaged,
        holds what could run code, or says that it is of another network than the model's trunk.
        """
        content = self._read(filename)
        if isinstance(said := content.get("meta"), Mapping):  # where `resnext convert` says it
            for part in self.model.modules():
                if isinstance(part, ResNeXt):
                    check_said(filename, said, part.presupposed())
        return content

    def _read(self, filename: str) -> dict[str, Any]:
        if not filename.endswith((".pkl", ".pyth")):
            return _with_tensors_alone(super()._load_file(filename), filename)
        content = _Reader._load_file(self, filename)
        if "model" in content and "__author__" in content:
            return _with_tensors_alone(content, filename)
        author = "Caffe2" if filename.endswith(".pkl") else "pycls"
        named = content.get("blobs", content.get("model_state", content))
        weights = {
            key: value
            for key, value in named.items()
            if not str(key).endswith(LEFT_OUT) and isinstance(value, Tensor)
        }
        return {"model": weights, "__author__": author, "matching_heuristics": True}


def _with_tensors_alone(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns what a file holds, or raises WeightsError: its weights are not all tensors."""
    weights = content["model"]
    if not isinstance(weights, Mapping):
        raise WeightsError(f"weights {name}: holds a {type(weights).__name__} in place of weights")
    for key, value in weights.items():
        if not isinstance(value, Tensor | np.ndarray):
            kind = type(value).__name__
            raise WeightsError(f"weights {name}: {key} is a {kind}, where tensors are looked for")
    return content


class Checkpointer(SafeCheckpointer):
    """Gives a file its name when it is whole: a run killed while it saves has the one before."""

    def __init__(self, model: nn.Module, folder: str, pixels: Preprocessing, **kept: Any) -> None:
        super().__init__(model, folder, **kept, **{SEEN: SeenPixels(pixels)})

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


def file_of(checkpoint: str) -> str:
    """Returns the file of weights in a folder of `save_pretrained`, or on the Hugging Face Hub,
    which Detectron2 does not know; any other name as it is. WeightsError: there is none.
    """
    elsewhere = checkpoint.startswith(HUB) or (checkpoint and Path(checkpoint).is_dir())
    return str(locate(checkpoint)) if elsewhere else checkpoint


def last_checkpoint(work_dir: str) -> str:
    """Returns the checkpoint with which a run in this folder goes on; "" if there is none."""
    checkpointer = SafeCheckpointer(nn.Identity(), work_dir)
    return checkpointer.get_checkpoint_file() if checkpointer.has_checkpoint() else ""
