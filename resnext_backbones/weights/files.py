"""Reading weights files, without running anything that they contain."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


class WeightsError(ValueError):
    """Weights that cannot be read, or that do not fit the network."""


class _Inert:
    """Stands for the bookkeeping objects in MMEngine's checkpoints; keeps nothing of them."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# MMEngine writes its logging history beside the weights. Naming these classes lets
# `weights_only` read past them: what is built in their place is `_Inert`.
_BOOKKEEPING: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Inert, name)
    for name in (
        "mmengine.logging.history_buffer.HistoryBuffer",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.dtypes.Float64DType",
        "numpy.dtypes.Int64DType",
        "builtins.getattr",
    )
]


def read_file(path: str | Path) -> Mapping[str, Any]:
    """The mapping that a `.safetensors` or a `torch.save` file holds, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is neither of the two, it is damaged, or it holds objects that could
            run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path}: there is no such file")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights {path}: holds a {type(content).__name__}, not a state dict")
    return content


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as the format does: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(
            f"weights {path}: reading this format needs the safetensors package: "
            "pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"weights {path}: damaged safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_BOOKKEEPING):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        if found := re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE):
            raise WeightsError(
                f"weights {path}: refused, since it holds a {found[1]}, which could run code; "
                "save its state dict alone, or as safetensors"
            ) from error
        raise WeightsError(
            f"weights {path}: neither a safetensors nor a PyTorch file, or a damaged one"
        ) from error
