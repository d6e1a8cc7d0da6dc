"""torch.export's own file, which PyTorch loads without the network's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from resnext_backbones.export.formats import Arrays, Run
from resnext_backbones.export.metadata import KEYS_FILE, from_text, to_text
from resnext_backbones.export.subject import Subject


def check() -> None:
    """PyTorch is all that it takes."""


def write(
    program: ExportedProgram, subject: Subject, path: Path, metadata: Mapping[str, str]
) -> None:  # noqa: ARG001
    """Writes the program, with the metadata as an extra file."""
    torch.export.save(program, path, extra_files={KEYS_FILE: to_text(metadata)})


def load(path: Path) -> Run:
    """Returns what runs a file."""
    return runner(torch.export.load(path).module())


def metadata(path: Path) -> dict[str, str]:
    """Returns what a file says of itself."""
    files = {KEYS_FILE: ""}
    torch.export.load(path, extra_files=files)
    return from_text(files[KEYS_FILE])


def runner(call: Any) -> Run:
    """Returns a function of arrays from one of tensors."""

    def run(images: NDArray[Any]) -> Arrays:
        with torch.inference_mode():
            found = call(torch.from_numpy(images))
        return [value.numpy() for value in ([found] if torch.is_tensor(found) else found)]

    return run
