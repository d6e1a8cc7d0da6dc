"""Torch7's files, as the authors of ResNeXt published theirs, by the package torchfile.

That package believes a file: it makes room for as many values as a storage is said to have, and
looks at whatever a tensor's strides point to. So what it reads storages and tensors with is
replaced here, and what it reads from has an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from resnext_backbones.weights.pickles import RefusedError, bounded

STARTS = (b"\3\0\0\0\1\0\0\0", b"\4\0\0\0\1\0\0\0")
"""A table or an object that is the file's first."""

MOST_READS = 2_000_000
"""The largest published file takes less than a tenth of it."""

PARAMETERS = (b"weight", b"bias", b"running_mean", b"running_var")
"""What a module keeps that is worth loading: files have its gradients as well."""

TYPES = {
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Half": torch.float16,
    "Float": torch.float32,
    "Double": torch.float64,
}
"""Of storages and tensors, on the CPU; "torch.CudaTensor" is one of floats."""


class _Counted:
    """What the package reads from: a file as memory, and no more often than weights need."""

    def __init__(self, data: Any) -> None:
        self._data, self._left = data, MOST_READS

    def read(self, size: int) -> bytes:
        """The next bytes: all that are left, at most."""
        self._left -= 1
        if self._left < 0:
            raise RefusedError(f"more than {MOST_READS} values beside its tensors")
        found = self._data.read(size)
        if len(found) != size:
            raise RefusedError(f"{size} bytes where {len(found)} are left")
        return found


def _storage(dtype: torch.dtype, reader: Any, _: bytes) -> Tensor:
    data = reader.f.read(reader.read_long() * dtype.itemsize)
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _tensor(reader: Any, _: bytes) -> Tensor:
    dimensions = reader.read_int()
    shape, strides = (reader.read_long_array(dimensions) for _ in range(2))
    offset = reader.read_long() - 1
    storage = reader.read_obj()
    if not isinstance(storage, Tensor) or not shape:
        return torch.empty(0)
    found = storage.as_strided(shape, strides, offset)  # which must lie within the storage
    if found.numel() > storage.numel():
        raise RefusedError(f"a tensor of shape {shape} over a storage of {storage.numel()} items")
    return found


def _handlers() -> dict[bytes, Callable[[Any, bytes], Tensor]]:
    found: dict[bytes, Callable[[Any, bytes], Tensor]] = {}
    names = {**TYPES, "Cuda": torch.float32, **{f"Cuda{name}": t for name, t in TYPES.items()}}
    for name, dtype in names.items():
        found[f"torch.{name}Storage".encode()] = partial(_storage, dtype)
        found[f"torch.{name}Tensor".encode()] = _tensor
    return found


@cache
def _library() -> ModuleType:
    """The package torchfile, in a copy that is this module's alone."""
    spec = find_spec("torchfile")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(
            "a Torch7 file, which the package torchfile reads: pip install torchfile"
        )
    library = module_from_spec(spec)
    spec.loader.exec_module(library)
    library.type_handlers.update(_handlers())
    return library


def read_torch7(file: BinaryIO) -> dict[str, Tensor]:
    """The tensors of a network, named by their place in it, as PyTorch's `Sequential` would.

    Raises:
        ModuleNotFoundError: the package torchfile is not installed.
        RefusedError: the file claims more than it holds, or is damaged.
    """
    library = _library()
    with bounded(file) as data:
        content = library.T7Reader(_Counted(data)).read_obj()
        return dict(_named(content, "", set()))


def _named(value: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """All parameters under a table or a module.

    Args:
        seen: what was met before, since tables may hold one another.
    """
    if id(value) in seen:
        return
    seen.add(id(value))
    module = isinstance(value, _library().TorchObject)
    fields = value._obj if module else value
    if isinstance(fields, list):
        fields = dict(enumerate(fields))
    if not isinstance(fields, dict):
        return
    for key, item in fields.items():
        if isinstance(item, Tensor):
            if key in PARAMETERS:
                yield prefix + key.decode(), item
        elif module and key == b"modules":
            yield from _named(item, prefix, seen)
        elif not module and isinstance(key, int | bytes):
            yield from _named(item, f"{prefix}{_text(key)}.", seen)


def _text(key: int | bytes) -> str:
    return str(key) if isinstance(key, int) else key.decode("latin1")
