"""Torch7's files, as the authors of ResNeXt published theirs.

The format is that of torch/File.lua in its binary form: values with their type before them, and
objects with a number, by which a later place refers to them. A class's own table follows its name,
but for tensors and storages, which write themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch
from torch import Tensor

from resnext_backbones.weights.pickles import RefusedError, bounded

STARTS = (b"\3\0\0\0\1\0\0\0", b"\4\0\0\0\1\0\0\0")
"""A table or an object that is the file's first."""

NIL, NUMBER, STRING, TABLE, OBJECT, BOOLEAN, OLD_FUNCTION = range(7)
FUNCTIONS = (7, 8)
"""Of Lua, in its byte code: skipped, with the values that they close over."""

MOST_READS = 2_000_000
"""Pieces of a file. The largest published one has less than a tenth of it."""

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
"""What a module keeps that is worth loading: files have its gradients as well."""

CPU_TYPES = {
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Half": torch.float16,
    "Float": torch.float32,
    "Double": torch.float64,
}
TYPES = {**CPU_TYPES, "Cuda": torch.float32, **{f"Cuda{k}": v for k, v in CPU_TYPES.items()}}
"""Of storages and tensors; a "torch.CudaTensor" is one of floats."""


class _Module:
    """An object of any other class of Torch7's, with the table of what it keeps."""

    def __init__(self) -> None:
        self.fields: Any = None


class _Reader:
    """Reads values one after the other, never more than the file has."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._left = MOST_READS
        self._objects: dict[int, Any] = {}

    def value(self) -> Any:
        """Returns the next value: None, a number, text, a table as a dict, a tensor or a module."""
        kind = self._integer()
        if kind == NIL:
            return None
        if kind == NUMBER:
            (number,) = struct.unpack("<d", self._bytes(8))
            return int(number) if number.is_integer() else number
        if kind == BOOLEAN:
            return self._integer() == 1
        if kind == STRING:
            return self._text()
        if kind == OLD_FUNCTION:
            return self._function()
        if kind not in (TABLE, OBJECT, *FUNCTIONS):
            raise RefusedError(f"a value of type {kind}, which Torch7 does not have")
        number = self._integer()
        if number not in self._objects:
            self._objects[number] = None
            if kind == TABLE:
                self._table(number)
            elif kind == OBJECT:
                self._object(number)
            else:
                self._function()
        return self._objects[number]

    def _bytes(self, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise RefusedError(f"more than {MOST_READS} values beside its tensors")
        left = len(self._data) - self._data.tell()
        if not 0 <= size <= left:
            raise RefusedError(f"{size} bytes where {left} are left")
        return self._data.read(size)

    def _integer(self) -> int:
        return struct.unpack("<i", self._bytes(4))[0]

    def _longs(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}q", self._bytes(8 * count))

    def _text(self) -> str:
        return self._bytes(self._integer()).decode("latin1")

    def _function(self) -> None:
        self._text()
        self.value()

    def _table(self, number: int) -> None:
        # It is known before it is read, since it may hold itself.
        table = self._objects[number] = {}
        for _ in range(self._integer()):
            key, item = self.value(), self.value()
            if type(key) in (int, str):
                table[key] = item

    def _object(self, number: int) -> None:
        name = self._text()
        if name.startswith("V "):  # older files have no version before the name
            name = self._text()
        library, _, own = name.partition(".")
        if library == "torch" and own.removesuffix("Storage") in TYPES:
            self._objects[number] = self._storage(TYPES[own.removesuffix("Storage")])
        elif library == "torch" and own.removesuffix("Tensor") in TYPES:
            self._objects[number] = self._tensor()
        else:
            module = self._objects[number] = _Module()
            module.fields = self.value()
            if not isinstance(module.fields, dict):
                raise RefusedError(f"an object of the class {name!r} that is no table")

    def _storage(self, dtype: torch.dtype) -> Tensor:
        (items,) = self._longs(1)
        data = bytearray(self._bytes(items * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def _tensor(self) -> Tensor:
        dimensions = self._integer()
        shape, strides = self._longs(dimensions), self._longs(dimensions)
        offset = self._longs(1)[0] - 1
        storage = self.value()
        if not isinstance(storage, Tensor) or not shape:
            return torch.empty(0)
        found = storage.as_strided(shape, strides, offset)  # which must lie within the storage
        if found.numel() > storage.numel():
            raise RefusedError(
                f"a tensor of shape {shape} over a storage of {storage.numel()} items"
            )
        return found


def read_torch7(file: BinaryIO) -> dict[str, Tensor]:
    """Returns the tensors of a network by their place in it, as PyTorch's `Sequential` names them.

    Raises:
        RefusedError: the file claims more than it holds, or is damaged.
    """
    with bounded(file) as data:
        return dict(_named(_Reader(data).value(), "", set()))


def _named(value: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yields all parameters under a table or a module, with their names.

    Args:
        seen: what was met before, since tables may hold one another.
    """
    if id(value) in seen or not isinstance(value, dict | _Module):
        return
    seen.add(id(value))
    module = isinstance(value, _Module)
    fields = value.fields if isinstance(value, _Module) else value
    # Lua counts a list's items from 1.
    first = int(set(fields) == set(range(1, len(fields) + 1)))
    for key, item in fields.items():
        if isinstance(item, Tensor):
            if key in PARAMETERS:
                yield prefix + key, item
        elif module and key == "modules":
            yield from _named(item, prefix, seen)
        elif not module:
            name = key - first if isinstance(key, int) else key
            yield from _named(item, f"{prefix}{name}.", seen)
