"""Reads weights files, without running anything that they contain."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from resnext_backbones.other_files import what_else
from resnext_backbones.weights import torch7
from resnext_backbones.weights.archives import read_zip
from resnext_backbones.weights.arrays import tensors_of
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.pickles import Calls, RefusedError
from resnext_backbones.weights.torch_files import mapped, read_legacy, read_plain

LARGEST_HEADER = 2**24
"""Bytes suffice for a list of more than 100,000 tensors."""


def read_file(path: str | Path, *, stand_ins: Calls | None = None) -> Mapping[str, Any]:
    """Returns what a weights file holds, on the CPU: a state dict, or what is wrapped around it;
    items of a list by their number. Objects of other kinds are `pickles.Inert`, and not built.

    The kind of file is told from its first bytes: safetensors, `torch.save`'s, TorchScript's, a
    pickle of numpy arrays, as Detectron2 and Caffe2 write it, or of tensors, or Torch7's.

    Args:
        stand_ins: what is built where a file of torch.save names these; other objects are read
            past. They get what the file says, so they must take anything, their attributes by
            `build`.

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
        values = tensors_of(read(path, data, stand_ins or {}))
    if isinstance(values, list | tuple):
        values = {str(number): value for number, value in enumerate(values)}
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


Reader = Callable[[Path, mmap.mmap, Calls], Any]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Reader, mmap.mmap]]:
    """Opens a file as memory, of which no more can be read than there is, with what reads it. All
    errors become WeightsError, since a damaged file can raise anything.
    """
    with path.open("rb") as file:
        start = file.read(32)
        kind, read = next(((kind, read) for kind, fits, read in KINDS if fits(start)), ("", None))
        if read is None:
            raise WeightsError(f"weights {path}: {_what_else(start)}")
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
    if header > LARGEST_HEADER:
        raise RefusedError(f"a header of {header} bytes")
    return safe_open(path, framework="pt")


def _read_safetensors(path: Path, data: mmap.mmap, _: Calls) -> Any:
    with _safetensors(path, data) as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118


MAGIC_NUMBER = struct.pack("<QH", 0xA86A20F9469CFC6C, 0x1950)

KINDS: tuple[tuple[str, Callable[[bytes], bool], Reader], ...] = (
    ("PyTorch", lambda start: start.startswith(b"PK"), read_zip),
    ("safetensors", lambda start: start[8:9] == b"{", _read_safetensors),
    (
        "PyTorch",
        lambda start: start[:1] == b"\x80" and MAGIC_NUMBER in start,
        lambda path, data, calls: read_legacy(data, mapped(path, len(data)), calls),
    ),
    ("pickle", lambda start: start[:1] == b"\x80", read_plain),
    (
        "Torch7",
        lambda start: start.startswith(torch7.STARTS),
        lambda _, d, __: torch7.read_torch7(d),
    ),
)
"""Files are of these kinds; a kind is told by how it begins."""

SHARDS = (
    "where it lists shards, save the network as one file: save_pretrained(FOLDER, "
    "max_shard_size='100GB')"
)

OTHERS = (
    (b"\x89HDF", "an HDF5 file, as Keras writes it, which holds no names of PyTorch's"),
    (b"{", f"JSON; {SHARDS}"),
    (b"\x93NUMPY", "one array of numpy"),
)
"""What else is taken for weights begins like this."""


def _what_else(start: bytes) -> str:
    """Returns what an unknown file is, as far as its beginning tells."""
    return what_else(start, OTHERS) or (
        "not a safetensors file, nor one of torch.save, a pickle of arrays or a Torch7 file; or it "
        "is damaged"
    )
