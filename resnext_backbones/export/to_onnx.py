"""Programs become ONNX, which ONNX Runtime runs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from resnext_backbones.export.extra import need
from resnext_backbones.export.formats import Arrays, Run
from resnext_backbones.export.program import AXES
from resnext_backbones.export.subject import INPUT, Subject


def check() -> None:
    """Raises InputError where a library is missing."""
    need("onnx", "onnxscript", "onnxruntime")


def write(
    program: ExportedProgram, subject: Subject, path: Path, metadata: Mapping[str, str]
) -> None:
    """Writes the program; weights of more than 2 GB, which no ONNX file has room for, beside it."""
    with contextlib.redirect_stdout(io.StringIO()):  # PyTorch's steps, one line each
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[output.name for output in subject.outputs],
            dynamic_shapes={INPUT: dict(AXES)},
            verbose=False,
        )
    assert made is not None
    made.model.metadata_props.update(metadata)
    made.save(path)


def session(path: Path | bytes) -> Any:
    """Returns ONNX Runtime's session of a file, or of its content, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def load(path: Path) -> Run:
    """Returns what runs a file."""
    opened = session(path)

    def run(images: NDArray[Any]) -> Arrays:
        return list(opened.run(None, {INPUT: images}))

    return run


def metadata(path: Path) -> dict[str, str]:
    """Returns what a file says of itself."""
    return dict(session(path).get_modelmeta().custom_metadata_map)
