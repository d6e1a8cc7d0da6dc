"""Reads Torch7's files, as the authors of ResNeXt published theirs.

The format is that of torch/File.lua in its binary form: values with their type before them, and
objects with a number, by which a later place refers to them. A class's own table follows its name,
but for tensors and storages, which write themselves.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.pickles import RefusedError

STARTS = (b"\3\0\0\0\1\0\0\0", b"\4\0\0\0\1\0\0\0")
"""A file begins with the first table or object."""

NIL, NUMBER, STRING, TABLE, OBJECT, BOOLEAN, OLD_FUNCTION = range(7)
FUNCTIONS = (7, 8)
"""Lua's byte code is skipped, with the values that a function closes over."""

MOST_READS = 2_000_000
"""Pieces of a file. The largest published one has less than a tenth of it."""

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
"""These are worth loading; a module keeps its gradients as well."""

NAMES = ("Byte", "Char", "Short", "Int", "Long", "Half", "Float", "Double")
CPU_TYPES = {name: getattr(torch, f"{name}Tensor").dtype for name in NAMES}
TYPES = {**CPU_TYPES, "Cuda": torch.float32, **{f"Cuda{k}": v for k, v in CPU_TYPES.items()}}
"""Storages and tensors have these types; a "torch.CudaTensor" is one of floats."""


class _Module(dict[Any, Any]):
    """Holds what an object of any other class of Torch7's keeps in its table."""


class _Reader:
    """Reads values one after the other, never more than the file has."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MOST_READS
        self._objects: dict[int, Any] = {}

    def value(self) -> Any:
        """Returns the next value: None, a number, text, a table as a dict, a tensor or a module."""
        kind = self._integer()
        if kind == NIL:
            return None
        if kind == NUMBER:
            (number,) = self._unpack("<d")
            return int(number) if number.is_integer() else number
        if kind == BOOLEAN:
            return self._integer() == 1
        if kind == STRING:
            return self._text()
        if kind == OLD_FUNCTION:
            return self._skip_function()
        if kind not in (TABLE, OBJECT, *FUNCTIONS):
            raise RefusedError(f"a value of type {kind}, which Torch7 does not have")
        number = self._integer()
        if number not in self._objects:
            self._objects[number] = None
            if kind == TABLE:
                # It is known before it is read, since it may hold itself.
                table = self._objects[number] = {}
                for _ in range(self._integer()):
                    key, item = self.value(), self.value()
                    if type(key) in (int, str):
                        table[key] = item
            elif kind == OBJECT:
                self._read_object(number)
            else:
                self._skip_function()
        return self._objects[number]

    def _bytes(self, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise RefusedError(f"more than {MOST_READS} values beside its tensors")
        left = len(self._data) - self._data.tell()
        if not 0 <= size <= left:
            raise RefusedError(f"{size} bytes where {left} are left")
        return self._data.read(size)

    def _unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))

    def _integer(self) -> int:
        return self._unpack("<i")[0]

    def _text(self) -> str:
        return self._bytes(self._integer()).decode("latin1")

    def _skip_function(self) -> None:
        self._text()
        self.value()

    def _read_object(self, number: int) -> None:
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
            fields = self.value()
            if not isinstance(fields, dict):
                raise RefusedError(f"an object of the class {name!r} that is no table")
            module.update(fields)

    def _storage(self, dtype: torch.dtype) -> Tensor:
        (items,) = self._unpack("<q")
        data = bytearray(self._bytes(items * dtype.itemsize))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def _tensor(self) -> Tensor:
        form = f"<{self._integer()}q"
        shape, strides, (offset,) = self._unpack(form), self._unpack(form), self._unpack("<q")
        storage = self.value()
        if not isinstance(storage, Tensor) or not shape:
            return torch.empty(0)
        if prod(shape) * storage.element_size() > storage.nbytes:
            raise RefusedError(f"a tensor of shape {shape} made of {storage.nbytes} bytes")
        # It must lie within the storage; Lua counts from 1.
        return storage.as_strided(shape, strides, offset - 1)


def read_torch7(data: mmap.mmap) -> dict[str, Tensor]:
    """Returns the tensors of a network by their place in it, as PyTorch's `Sequential` names them;
    raises RefusedError where the file claims more than it holds.
    """
    return dict(_named(_Reader(data).value(), "", set()))


def _named(value: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters under a table or a module not seen before, with their names."""
    if id(value) in seen or not isinstance(value, dict):
        return
    seen.add(id(value))
    # Lua counts a list's items from 1.
    first = int(set(value) == set(range(1, len(value) + 1)))
    for key, item in value.items():
        if isinstance(item, Tensor):
            if key in PARAMETERS:
                yield prefix + key, item
        elif not isinstance(value, _Module):
            name = key - first if isinstance(key, int) else key
            yield from _named(item, f"{prefix}{name}.", seen)
        elif key == "modules":
            yield from _named(item, prefix, seen)
