"""AOTInductor packs a library that a C++ compiler makes of the program, for this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import ExportedProgram

from resnext_backbones.errors import InputError
from resnext_backbones.export.formats import Run
from resnext_backbones.export.subject import Subject
from resnext_backbones.export.to_pt2 import runner


def check() -> None:
    """Raises InputError where there is no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError) as error:
        raise InputError(
            "format aoti: AOTInductor compiles with a C++ compiler, and there is none here: "
            "install g++ or clang++, or name one in the variable CXX; the formats onnx, pt2 and "
            "openvino need none"
        ) from error


def write(
    program: ExportedProgram, subject: Subject, path: Path, metadata: Mapping[str, str]
) -> None:
    """Compiles the program, with the metadata in the package's own; InputError: the compiler fails,
    as where a header is missing.
    """
    from torch._inductor.exc import CppCompileError, InductorError

    try:
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": dict(metadata)},
        )
    except (CppCompileError, InductorError) as error:
        failed = error.inner_exception if isinstance(error, InductorError) else error
        if not isinstance(failed, CppCompileError):
            raise
        lines = [line.strip() for line in failed.output.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line), " ".join(lines[:1]))
        raise InputError(
            f"format aoti: the C++ compiler {failed.cmd[0]} fails: {first}; mend its installation; "
            "the formats onnx, pt2 and openvino need none"
        ) from error


def load(path: Path) -> Run:
    """Returns what runs a file."""
    return runner(torch._inductor.aoti_load_package(str(path)))


def metadata(path: Path) -> dict[str, str]:
    """Returns what a file says of itself, and what the compiler adds."""
    return dict(torch._inductor.aoti_load_package(str(path)).get_metadata())
