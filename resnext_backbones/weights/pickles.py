"""Reads pickles without running anything that they name.

A pickle names functions and calls them. Files of numbers need a handful of names, each of which has
a stand-in here; every other one is refused.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_INSTRUCTIONS = 2_000_000
"""A detector's checkpoint with its optimiser has less than a tenth of it. An instruction of one
byte can take 64 bytes of memory."""


HARMLESS = ("getattr", "set", "int", "float", "bool", "complex", "list", "dict", "tuple", "str")
"""Builtins that may be named. torch.load also lets a `bytearray` of any size be made."""


class RefusedError(ValueError):
    """Says that a file names what could run code, or claims more than it holds."""


class _DType:
    """Stands for numpy's, of numbers of at most 8 bytes."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not re.fullmatch(r"[<>=|]?(?:[fiu][1248]|b1)", str(code)):
            raise RefusedError(f"arrays of type {code!r}, which are no plain numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy's; its tensor is built from the bytes that are there."""

    def __init__(self, *_: Any) -> None:
        self.tensor = torch.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, fortran, data = state
        self.tensor = _tensor(data, dtype, shape, "F" if fortran else "C")


def _tensor(data: Any, dtype: Any, shape: Sequence[int], order: Any = "C") -> Tensor:
    if isinstance(data, str):  # what Python 2 wrote
        data = data.encode("latin1")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise RefusedError("an array that is not made of bytes")
    values = np.frombuffer(data, dtype.dtype)
    if any(size < 0 for size in shape) or prod(shape) != values.size:
        raise RefusedError(f"an array of shape {tuple(shape)} made of {values.size} values")
    ordered = values.reshape(shape, order="F" if order == "F" else "C")
    return torch.from_numpy(ordered.astype(dtype.dtype.newbyteorder("=")))


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _tensor(data, dtype, ()).item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"bytes written as {encoding!r}")
    return text.encode("latin1")


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
        for name, stand_in in (
            ("_reconstruct", _Array),
            ("_frombuffer", _tensor),
            ("scalar", _scalar),
        )
    },
}
"""A pickle may name these, and the stand-in is called."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise RefusedError(f"{module}.{name}, which could run code")
        return KNOWN[module, name]


def read_pickle(data: Any) -> Any:
    """Returns what a pickle of plain values and of numpy arrays holds; raises RefusedError where it
    names anything else.
    """
    check_instructions(data)
    data.seek(0)
    return _Unpickler(data, encoding="latin1").load()


def check_instructions(data: Any, *, pickles: int = 1) -> None:
    """Goes over the instructions that begin here without following them; raises RefusedError where
    there are too many, or one names a function of Python's own.
    """
    for _ in range(pickles):
        for number, (instruction, argument, _position) in enumerate(pickletools.genops(data)):
            if number > MOST_INSTRUCTIONS:
                raise RefusedError(f"more than {MOST_INSTRUCTIONS} pickle instructions")
            module, _, name = str(argument).partition(" ")
            builtin = instruction.name == "GLOBAL" and module in ("builtins", "__builtin__")
            if builtin and name not in HARMLESS:
                raise RefusedError(f"builtins.{name}, which could run code")


def tensors_of(value: Any, most: int, done: dict[int, Any]) -> Any:
    """Returns nested mappings and lists with tensors for arrays; raises RefusedError where one
    claims more bytes than it has, or than the file's `most`. One may hold another that is done
    already, or itself.
    """
    if isinstance(value, _Array):
        return value.tensor
    if isinstance(value, Tensor):
        held = min(most, value.untyped_storage().nbytes())
        if value.nbytes > held:
            raise RefusedError(f"a tensor of shape {tuple(value.shape)} made of {held} bytes")
    if not isinstance(value, dict | list) and type(value) is not tuple:
        return value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        copy: dict[Any, Any] = {}
        if isinstance(versions := getattr(value, "_metadata", None), dict):
            copy = OrderedDict()
            copy._metadata = versions  # type: ignore[attr-defined]  # modules read old names by it
        done[id(value)] = copy
        copy.update((key, tensors_of(item, most, done)) for key, item in value.items())
        return copy
    items: list[Any] = []
    done[id(value)] = items
    items += (tensors_of(item, most, done) for item in value)
    if isinstance(value, tuple):
        done[id(value)] = tuple(items)
    return done[id(value)]
