"""Reads the zip archives of `torch.save` and `torch.jit.save`, as data."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from resnext_backbones.weights.pickles import Calls, RefusedError
from resnext_backbones.weights.torch_files import TorchReader, mapped

LARGEST_DIRECTORY = 2**24
"""Bytes suffice for a list of more than 100,000 tensors."""


def read_zip(path: Path, data: Any, calls: Calls) -> Any:
    """Returns what an archive of torch.save or torch.jit.save holds. No entry may be a link, or
    overlap another, and none that is read be compressed.
    """
    _check_directory(data)
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
    entries = {entry.filename: entry for entry in listed}
    instructions = [name for name in entries if name.endswith("/data.pkl")]
    if len(instructions) != 1:
        raise RefusedError(_other_archive(list(entries)))
    for entry in listed:
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise RefusedError(f"the symbolic link {entry.filename!r}")
    if len(entries) < len(listed) or sum(entry.compress_size for entry in listed) > len(data):
        raise RefusedError("entries that overlap")
    place = partial(_place, data)
    root = instructions[0].removesuffix("data.pkl")
    order = entries.get(f"{root}byteorder")
    at, size = place(order) if order else (0, 0)
    swapped = data[at : at + size] == b"big"
    reader = TorchReader(mapped(path, len(data)), calls, swapped=swapped)
    for name, entry in entries.items():
        if name.startswith(f"{root}data/"):
            reader.places[name.removeprefix(f"{root}data/")] = place(entry)
    at, size = place(entries[instructions[0]])
    return reader.read(io.BytesIO(data[at : at + size]))


def _place(data: Any, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Returns where the bytes of an entry begin, behind a header that ends with two texts, and how
    many there are.
    """
    if entry.compress_type != zipfile.ZIP_STORED:
        raise RefusedError(f"the compressed entry {entry.filename!r}")
    begin = (
        entry.header_offset + 30 + sum(struct.unpack_from("<HH", data, entry.header_offset + 26))
    )
    if begin + entry.file_size > len(data):
        raise RefusedError(f"the entry {entry.filename!r} of more bytes than are left")
    return begin, entry.file_size


def _other_archive(names: list[str]) -> str:
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of numpy (.npz); save its arrays by torch.save"
    if held := [n for n in names if n.endswith((".pth", ".pt", ".bin", ".safetensors", ".pkl"))]:
        return f"a zip archive around {held[0]}; unpack it"
    return "a zip archive that torch.save did not write"


def _check_directory(data: Any) -> None:
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
