"""Pickles, without running anything that they name.

A pickle names functions and calls them. What is read here are files of numbers, so a handful of
names is known, each with a stand-in of this module's own, and every other one is refused.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import contextmanager
from math import prod
from typing import Any, BinaryIO

import numpy as np
import torch

MOST_INSTRUCTIONS = 2_000_000
"""A detector's checkpoint with its optimiser has less than a tenth of it. An instruction of one
byte can take 64 bytes of memory."""

NUMPY = tuple(
    f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric")
)


class RefusedError(ValueError):
    """A pickle that names what is not known, claims more than it holds, or is damaged."""


class _DType:
    """In place of numpy's: numbers of at most 8 bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        if not re.fullmatch(r"[<>=|]?(?:[fiu][1248]|b1)", code):
            raise RefusedError(f"arrays of type {code!r}, which are no plain numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """In place of numpy's: it is built from the bytes that are there, whatever it claims."""

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray:
    if isinstance(data, str):  # what Python 2 wrote
        data = data.encode("latin1")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise RefusedError("an array that is not made of bytes")
    values = np.frombuffer(data, dtype.dtype)
    if any(size < 0 for size in shape) or prod(shape) != values.size:
        raise RefusedError(f"an array of shape {tuple(shape)} made of {values.size} values")
    ordered = values.reshape(shape, order="F" if order == "F" else "C")
    return ordered.astype(dtype.dtype.newbyteorder("="))


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    return _array(data, dtype, shape, order)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _array(data, dtype, ()).item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"bytes written as {encoding!r}")
    return text.encode("latin1")


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    **{(module, "_reconstruct"): _Array for module in NUMPY},
    **{(module, "_frombuffer"): _from_buffer for module in NUMPY},
    **{(module, "scalar"): _scalar for module in NUMPY},
}
"""What a pickle may name, and what is called in its place."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise RefusedError(f"{module}.{name}, which could run code")
        return KNOWN[module, name]


def read_pickle(file: BinaryIO) -> Any:
    """What a pickle of plain values and of numpy arrays holds, with tensors for arrays.

    Raises:
        RefusedError: it names anything else, or is damaged.
    """
    with bounded(file) as data:
        _count_instructions(data)
        return _tensors(_Unpickler(data, encoding="latin1").load(), {})


def _tensors(value: Any, done: dict[int, Any]) -> Any:
    """Tensors in place of arrays, in the mappings that a checkpoint is made of.

    Args:
        done: mappings that were met before: one may hold another many times, or itself.
    """
    if isinstance(value, _Array):
        return torch.from_numpy(value.array)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if not isinstance(value, dict):
        return value
    if id(value) not in done:
        copy: dict[str, Any] = {}
        done[id(value)] = copy
        copy.update((str(key), _tensors(item, done)) for key, item in value.items())
    return done[id(value)]


@contextmanager
def bounded(file: BinaryIO) -> Any:
    """The file as memory, of which no more can be read than there is; all errors as one kind."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except RefusedError:
        raise
    except RecursionError as error:
        raise RefusedError("values within values too deep to be weights") from error
    # Damaged instructions can raise anything that the functions above raise.
    except Exception as error:
        raise RefusedError(f"damaged instructions: {error}") from error


def _count_instructions(data: Any) -> None:
    """Go over the pickle that begins here without following it, and come back."""
    start = data.tell()
    for number, _ in enumerate(pickletools.genops(data)):
        if number > MOST_INSTRUCTIONS:
            raise RefusedError(f"more than {MOST_INSTRUCTIONS} pickle instructions")
    data.seek(start)


# What follows is for files of torch.save. They are read by torch.load(weights_only=True); the
# storages that they claim to have are held against the file before.


HARMLESS = ("getattr", "set", "int", "float", "bool", "complex", "list", "dict", "tuple", "str")
"""Builtins that may be named. torch.load also lets a `bytearray` of any size be made."""


class _Storage:
    """A storage's type, by which its items are counted."""

    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize


ITEM_SIZES = {
    "Byte": 1, "Char": 1, "Bool": 1, "Untyped": 1, "Short": 2, "Half": 2, "BFloat16": 2,
    "Int": 4, "Float": 4, "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16,
}  # fmt: skip


class _Held:
    """A storage that a pickle refers to."""

    def __init__(self, items: int) -> None:
        self.items = items


class _Nothing:
    """In place of whatever else is named: it takes everything and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *_: Any) -> _Nothing:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """As a list's."""

    def extend(self, values: Any) -> None:
        """As a list's."""


def _tensor(storage: Any, _: int, shape: Any, *__: Any) -> _Nothing:
    if isinstance(storage, _Held) and prod(shape) > storage.items:
        raise RefusedError(
            f"a tensor of shape {tuple(shape)} over a storage of {storage.items} items"
        )
    return _Nothing()


class _Audit(pickle.Unpickler):
    """Follows a pickle of torch.save without building what it describes."""

    def __init__(self, data: Any, sizes: Callable[[str], int], total: int) -> None:
        super().__init__(data, encoding="latin1")
        self._sizes, self._left = sizes, total
        self._held: dict[str, _Held] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name not in HARMLESS:
            raise RefusedError(f"{module}.{name}, which could run code")
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _tensor
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return _Storage(ITEM_SIZES.get(name.removesuffix("Storage"), 1))
        return _Nothing

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise RefusedError("a reference that is no storage")
        kind, key, items = pid[1], str(pid[2]), pid[4]
        size = kind.itemsize if isinstance(kind, _Storage) else 1
        if not isinstance(items, int) or not 0 <= items * size <= self._sizes(key):
            raise RefusedError(f"a storage {key!r} of {items} items, which is not in the file")
        if key not in self._held:
            self._left -= items * size
            if self._left < 0:
                raise RefusedError("storages that are larger than the file")
        self._held[key] = _Held(items)
        return self._held[key]


def audit(file: BinaryIO, sizes: Callable[[str], int], total: int, *, pickles: int = 1) -> None:
    """Follow the pickles of torch.save from where the file stands, and check what they claim.

    Args:
        sizes: bytes that the file has for a storage of that name.
        total: that it has for all of them.
        pickles: how many follow one another.

    Raises:
        RefusedError: they claim more than there is, or are damaged.
    """
    start = file.tell()
    with bounded(file) as data:
        data.seek(start)
        for _ in range(pickles):
            _count_instructions(data)
            _Audit(data, sizes, total).load()
