"""Programs become OpenVINO's IR: an .xml file, and a .bin with the weights beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from resnext_backbones.export.extra import need
from resnext_backbones.export.formats import Arrays, Run
from resnext_backbones.export.subject import INPUT, Subject

RT_INFO = "resnext_backbones"
"""The metadata lie under this key of the model's `rt_info`."""


def check() -> None:
    """Raises InputError where a library is missing."""
    need("openvino")


def write(
    program: ExportedProgram, subject: Subject, path: Path, metadata: Mapping[str, str]
) -> None:
    """Writes the program, with weights in float32."""
    import openvino

    model = openvino.convert_model(program)
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, found in zip(subject.outputs, model.outputs, strict=True):
        found.get_tensor().set_names({output.name})
    for key, value in metadata.items():
        model.set_rt_info(value, [RT_INFO, key])
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path) -> Run:
    """Returns what runs a file in float32: some processors would take bfloat16."""
    import openvino

    threads = torch.get_num_threads()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(path, "CPU", settings)

    def run(images: NDArray[Any]) -> Arrays:
        found = compiled(images)
        return [found[output].copy() for output in compiled.outputs]

    return run


def metadata(path: Path) -> dict[str, str]:
    """Returns what a file says of itself."""
    import openvino

    model = openvino.Core().read_model(path)
    said = model.get_rt_info([RT_INFO]).astype(dict) if model.has_rt_info([RT_INFO]) else {}
    return {key: str(value.value) for key, value in said.items()}
