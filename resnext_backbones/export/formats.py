"""One table has the formats: how each is written, run, and asked what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.export.subject import Subject

Arrays = list[NDArray[Any]]
Run = Callable[[NDArray[np.float32]], Arrays]
"""Takes images (N, C, H, W) and returns the outputs in their order."""


class Writer(Protocol):
    """A module of a format has these."""

    def check(self) -> None:
        """Raises InputError where this machine cannot write or run the format."""

    def write(
        self, program: Any, subject: Subject, path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Writes a program, and what belongs beside it, by the names that begin with the path's."""

    def load(self, path: Path) -> Run:
        """Returns what runs a file in its runtime, on the processor, in float32."""

    def metadata(self, path: Path) -> dict[str, str]:
        """Returns what a file says of itself."""


@dataclass(frozen=True)
class Format:
    """Describes a format.

    Attributes:
        suffix: of the file that is named.
        beside: suffixes of files that may lie beside it, by the same name.
        runtime: its name for people.
        module: its `Writer`, imported when it is needed.
    """

    suffix: str
    runtime: str
    module: str
    beside: tuple[str, ...] = ()

    def writer(self) -> Writer:
        """Returns the module that writes and runs it; importing it needs no runtime."""
        return cast(Writer, import_module(f"resnext_backbones.export.{self.module}"))

    def files(self, path: Path) -> list[Path]:
        """Returns the names that a file and those beside it have; the named one is the last."""
        return [*(path.with_suffix(suffix) for suffix in self.beside), path]


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", "ONNX Runtime", "to_onnx", (".onnx.data",)),
    "pt2": Format(".pt2", "torch.export", "to_pt2"),
    "aoti": Format(".aoti.pt2", "AOTInductor", "to_aoti"),
    "openvino": Format(".xml", "OpenVINO", "to_openvino", (".bin",)),
}
"""`--format` takes these names."""
