"""torch.export writes its own file, which PyTorch loads without the network's code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from resnext_backbones.export.formats import Arrays, Run
from resnext_backbones.export.subject import Subject

SAID = "metadata.json"
"""The extra file that has the metadata."""

CONDITION = re.compile(r"L\['images'\]\.size\(\)\[[23]\] >= \d+")


def check() -> None:
    """Raises nothing: PyTorch is all that it takes."""


def write(
    program: ExportedProgram, subject: Subject, path: Path, metadata: Mapping[str, str]
) -> None:
    """Writes the program, with the metadata as an extra file."""
    # What PyTorch asked of a size while it chose among kernels is no condition: the network takes
    # one image, and maps of one pixel. How large images must be stays.
    program._guards_code = [code for code in program._guards_code if CONDITION.fullmatch(code)]
    torch.export.save(program, path, extra_files={SAID: json.dumps(dict(metadata), indent=1)})


def load(path: Path) -> Run:
    """Returns what runs a file."""
    return runner(torch.export.load(path).module())


def metadata(path: Path) -> dict[str, str]:
    """Returns what a file says of itself."""
    files = {SAID: ""}
    torch.export.load(path, extra_files=files)
    return json.loads(files[SAID] or "{}")


def runner(call: Any) -> Run:
    """Returns a function of arrays from one of tensors."""

    def run(images: NDArray[Any]) -> Arrays:
        with torch.inference_mode():
            found = call(torch.from_numpy(images))
        return [value.numpy() for value in ([found] if torch.is_tensor(found) else found)]

    return run
