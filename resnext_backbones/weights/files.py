"""Reads weights files, without running anything that they contain."""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from resnext_backbones.weights import torch7
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.pickles import (
    RefusedError,
    check_instructions,
    read_pickle,
    tensors_of,
)

LARGEST_DIRECTORY = 2**24
"""Bytes suffice for a list of more than 100,000 tensors."""


class _Inert:
    """Takes everything and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


# MMEngine writes its logging history beside the weights. Naming these lets `weights_only` read past
# them: what is built in their place is inert.
BOOKKEEPING = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *("numpy.ndarray", "numpy.dtype", "numpy.dtypes.Float64DType", "numpy.dtypes.Int64DType"),
    "builtins.getattr",
)


def read_file(path: str | Path, *, stand_ins: StandIns | None = None) -> Mapping[str, Any]:
    """Returns what a weights file holds, on the CPU: a state dict, or what is wrapped around it.

    The kind of file is told from its first bytes: safetensors, `torch.save`'s, a pickle of numpy
    arrays as Detectron2 and Caffe2 write it, or Torch7's.

    Args:
        stand_ins: what is built where a file of torch.save names these; objects are read past
            without it. They get what the file says, so they must take anything.

    Raises FileNotFoundError where there is none, and WeightsError where it is of another kind,
    damaged, larger than this machine's memory, or holds objects that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path}: there is no such file")
    size, memory = path.stat().st_size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise WeightsError(
            f"weights {path}: has {size / 1e9:.1f} GB, more than this machine's memory of "
            f"{memory / 1e9:.1f} GB"
        )
    with _opened(path) as (read, data):
        built = partial(read, stand_ins=stand_ins) if stand_ins and read in TORCH else read
        values = tensors_of(built(path, data), size, {})
    if not isinstance(values, Mapping):
        raise WeightsError(f"weights {path}: holds a {type(values).__name__}, not a state dict")
    return values


def read_metadata(path: str | Path) -> Mapping[str, str]:
    """Returns what a safetensors file carries beside its tensors; nothing of any other file. Raises
    WeightsError where it is no weights file, or a damaged one.
    """
    with _opened(Path(path)) as (read, data):
        if read is not _read_safetensors:
            return {}
        with _safetensors(Path(path), data) as opened:
            return opened.metadata() or {}


Reader = Callable[[Path, mmap.mmap], Any]
StandIns = Mapping[str, Callable[..., Any]]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Reader, mmap.mmap]]:
    """Opens a file as memory, of which no more can be read than there is, with what reads it. All
    errors become WeightsError, since a damaged file can raise anything.
    """
    with path.open("rb") as file:
        start = file.read(32)
        kind, read = next(((kind, read) for kind, fits, read in KINDS if fits(start)), ("", None))
        if read is None:
            raise WeightsError(
                f"weights {path}: not a safetensors file, nor one of torch.save, a pickle of "
                "arrays or a Torch7 file; or it is damaged"
            )
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield read, data
        except (RefusedError, RecursionError) as error:
            deep = "values within values too deep to be weights"
            raise WeightsError(
                f"weights {path}: refused, since it holds "
                f"{error if isinstance(error, RefusedError) else deep}; take it from its source "
                "again, or have its state dict saved alone, as safetensors"
            ) from error
        except Exception as error:
            said = str(error).split("\n", 1)[0] or type(error).__name__
            raise WeightsError(f"weights {path}: a damaged {kind} file: {said}") from error


def _safetensors(path: Path, data: mmap.mmap) -> Any:
    (header,) = struct.unpack_from("<Q", data)
    if header > LARGEST_DIRECTORY:
        raise RefusedError(f"a header of {header} bytes")
    return safe_open(path, framework="pt")


def _read_safetensors(path: Path, data: mmap.mmap) -> Any:
    with _safetensors(path, data) as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118


def _read_zip(path: Path, data: mmap.mmap, stand_ins: StandIns | None = None) -> Any:
    _check_directory(data)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    instructions = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(instructions) != 1:
        raise ValueError("a zip archive that torch.save did not write")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise RefusedError(f"the compressed entry {entry.filename!r}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise RefusedError(f"the symbolic link {entry.filename!r}")
    if sum({entry.filename: entry.file_size for entry in entries}.values()) > len(data):
        raise RefusedError("entries that overlap")
    # An entry's data stand behind a header that ends with two texts.
    offset = instructions[0].header_offset
    data.seek(offset + 30 + sum(struct.unpack_from("<HH", data, offset + 26)))
    check_instructions(data)
    # As a part of the file in memory no storage can be larger than it.
    return _torch_load(path, stand_ins, mapped=True)


def _check_directory(data: mmap.mmap) -> None:
    """Checks that the list of files in an archive is none that takes memory by itself."""
    tail = max(0, len(data) - 2**16 - 64)
    record, record_64 = data.rfind(b"PK\5\6", tail), data.rfind(b"PK\6\6", tail)
    if record < 0:
        raise ValueError("it is truncated")
    (size,) = struct.unpack_from("<I", data, record + 12)
    if 0 <= record_64 <= len(data) - 48:  # what is too large for the old record stands in this one
        (size_64,) = struct.unpack_from("<Q", data, record_64 + 40)
        size = max(size if size < 2**32 - 1 else 0, size_64)
    if size > LARGEST_DIRECTORY:
        raise RefusedError(f"an archive whose list of files has {size} bytes")


def _read_legacy(path: Path, data: mmap.mmap, stand_ins: StandIns | None = None) -> Any:
    """Returns what torch.save wrote before version 1.6: behind five pickles come the storages."""
    check_instructions(data, pickles=4)
    return _torch_load(path, stand_ins)


def _torch_load(path: Path, stand_ins: StandIns | None, *, mapped: bool = False) -> Any:
    known = {**dict.fromkeys(BOOKKEEPING, _Inert), **(stand_ins or {})}
    try:
        with torch.serialization.safe_globals([(built, name) for name, built in known.items()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        if found := re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE):
            raise RefusedError(f"{found[1]}, which could run code") from error
        raise


TORCH = (_read_zip, _read_legacy)
"""These read what torch.save wrote, which may name objects."""

MAGIC_NUMBER = struct.pack("<QH", 0xA86A20F9469CFC6C, 0x1950)

KINDS: tuple[tuple[str, Callable[[bytes], bool], Reader], ...] = (
    ("PyTorch", lambda start: start.startswith(b"PK"), _read_zip),
    ("safetensors", lambda start: start[8:9] == b"{", _read_safetensors),
    ("PyTorch", lambda start: start[:1] == b"\x80" and MAGIC_NUMBER in start, _read_legacy),
    ("pickle", lambda start: start[:1] == b"\x80", lambda _, data: read_pickle(data)),
    ("Torch7", lambda start: start.startswith(torch7.STARTS), lambda _, d: torch7.read_torch7(d)),
)
"""Files are of these kinds; a kind is told by how it begins."""
