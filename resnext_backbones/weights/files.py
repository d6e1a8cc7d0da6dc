"""Reading weights files, without running anything that they contain."""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnext_backbones.weights import torch7
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.pickles import RefusedError, audit, read_pickle

T = TypeVar("T")

LARGEST_DIRECTORY = 2**24
"""Bytes of the list of what is in a file: more than 100,000 tensors."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        values: state dict, or what is wrapped around it.
        metadata: strings that a safetensors file carries beside its tensors.
    """

    values: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)


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
    """As `read_content`, without the metadata."""
    return read_content(path).values


def read_content(path: str | Path) -> Content:
    """What a weights file holds, on the CPU.

    The kind of file is told from its first bytes: safetensors, `torch.save`'s, a pickle of numpy
    arrays as Detectron2 and Caffe2 write it, or Torch7's.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is none of these, it is damaged or larger than this machine's memory, or
            it holds objects that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path}: there is no such file")
    size, memory = path.stat().st_size, _physical_memory()
    if size > memory:
        raise WeightsError(
            f"weights {path}: has {size / 1e9:.1f} GB, more than this machine's memory of "
            f"{memory / 1e9:.1f} GB"
        )
    try:
        with path.open("rb") as file:
            content = _reader(file.read(32))(path, file)
    except RefusedError as error:
        raise WeightsError(
            f"weights {path}: refused, since it holds {error}; take it from its source again, or "
            "have its state dict saved alone, as safetensors"
        ) from error
    if not isinstance(content.values, Mapping):
        kind = type(content.values).__name__
        raise WeightsError(f"weights {path}: holds a {kind}, not a state dict")
    return content


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """What a safetensors file carries beside its tensors; nothing of any other file.

    Raises:
        WeightsError: it is a damaged safetensors file.
    """
    with Path(path).open("rb") as file:
        if _reader(file.read(32)) is not _read_safetensors:
            return {}
        return _open_safetensors(Path(path), file, lambda opened: opened.metadata() or {})


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _reader(start: bytes) -> Callable[[Path, BinaryIO], Content]:
    """What reads a file that begins like this."""
    for matches, reader in READERS:
        if matches(start):
            return reader
    return _read_nothing


def _read_nothing(path: Path, _: BinaryIO) -> Content:
    raise WeightsError(
        f"weights {path}: not a safetensors file, nor one of torch.save, a pickle of arrays or a "
        "Torch7 file; or it is damaged"
    )


def _read_safetensors(path: Path, file: BinaryIO) -> Content:
    def read(opened: Any) -> Content:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return Content(tensors, opened.metadata() or {})

    return _open_safetensors(path, file, read)


def _open_safetensors(path: Path, file: BinaryIO, read: Callable[[Any], T]) -> T:
    file.seek(0)
    (header,) = struct.unpack("<Q", file.read(8))
    if header > LARGEST_DIRECTORY:
        raise RefusedError(f"a header of {header} bytes")
    try:
        with safe_open(path, framework="pt") as opened:
            return read(opened)
    except SafetensorError as error:
        raise WeightsError(f"weights {path}: damaged safetensors file: {error}") from error


def _read_zip(path: Path, file: BinaryIO) -> Content:
    _check_directory(path, file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        starts = [_start(file, entry) for entry in entries if entry.filename.endswith("/data.pkl")]
    # The third is what zipfile raises for a version of the format that it does not know.
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error) as error:
        raise WeightsError(f"weights {path}: a damaged PyTorch file: {error}") from error
    if len(starts) != 1:
        raise WeightsError(f"weights {path}: a zip archive that torch.save did not write")
    sizes = {}
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"the compressed entry {entry.filename!r}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise RefusedError(f"the symbolic link {entry.filename!r}")
        sizes[entry.filename] = entry.file_size
    if sum(sizes.values()) > path.stat().st_size:
        raise RefusedError("entries that overlap")
    root, start = starts[0]
    file.seek(start)
    audit(file, lambda key: sizes.get(f"{root}data/{key}", -1), path.stat().st_size)
    return Content(_torch_load(path))


def _check_directory(path: Path, file: BinaryIO) -> None:
    """That the list of files in an archive is none that takes memory by itself."""
    tail = 2**16 + 64
    file.seek(max(0, path.stat().st_size - tail))
    end = file.read()
    record, record_64 = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    if record < 0 or len(end) - record < 22:
        raise WeightsError(f"weights {path}: a damaged or truncated PyTorch file")
    (size,) = struct.unpack_from("<I", end, record + 12)
    if 0 <= record_64 <= len(end) - 48:  # what is too large for the old record stands in this one
        (size_64,) = struct.unpack_from("<Q", end, record_64 + 40)
        size = max(size if size < 2**32 - 1 else 0, size_64)
    if size > LARGEST_DIRECTORY:
        raise RefusedError(f"an archive whose list of files has {size} bytes")


def _start(file: BinaryIO, entry: zipfile.ZipInfo) -> tuple[str, int]:
    """An entry's folder, and where its data begin: behind a header that ends with two texts."""
    file.seek(entry.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return entry.filename.rpartition("/")[0] + "/", entry.header_offset + 30 + name + extra


def _read_legacy(path: Path, file: BinaryIO) -> Content:
    """What torch.save wrote before version 1.6: five pickles, then the storages."""
    file.seek(0)
    size = path.stat().st_size
    audit(file, lambda _: size, size, pickles=4)
    return Content(_torch_load(path))


def _torch_load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_BOOKKEEPING):
            return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file can raise anything.
    except Exception as error:
        if found := re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE):
            raise RefusedError(f"{found[1]}, which could run code") from error
        raise WeightsError(f"weights {path}: a damaged PyTorch file: {_first(error)}") from error


def _first(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__


def _read_arrays(_: Path, file: BinaryIO) -> Content:
    return Content(read_pickle(file))


def _read_torch7(_: Path, file: BinaryIO) -> Content:
    return Content(torch7.read_torch7(file))


MAGIC_NUMBER = struct.pack("<QH", 0xA86A20F9469CFC6C, 0x1950)

READERS: tuple[tuple[Callable[[bytes], bool], Callable[[Path, BinaryIO], Content]], ...] = (
    (lambda start: start.startswith(b"PK"), _read_zip),
    (lambda start: start[8:9] == b"{", _read_safetensors),
    (lambda start: start[:1] == b"\x80" and MAGIC_NUMBER in start, _read_legacy),
    (lambda start: start[:1] == b"\x80", _read_arrays),
    (lambda start: start.startswith(torch7.STARTS), _read_torch7),
)
"""How each kind of file begins, and what reads it."""


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. The sum of most tensors says it, and is quick."""
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())
