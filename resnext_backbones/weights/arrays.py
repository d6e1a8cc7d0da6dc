"""Reads numpy's arrays and numbers in a pickle, by stand-ins for its functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnext_backbones.weights.pickles import Inert, RefusedError


class DType:
    """Stands for numpy's, of numbers of at most 8 bytes; `dtype` is None for all others."""

    def __init__(self, code: Any, *_: Any) -> None:
        plain = re.fullmatch(r"[<>=|]?(?:[fiu][1248]|b1)", str(code))
        self.dtype = np.dtype(str(code)) if plain and str(code)[-2:] != "f1" else None

    def build(self, state: tuple[Any, ...]) -> None:
        if self.dtype is not None and state[1] in ("<", ">", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """Stands for numpy's. `tensor` is built from the bytes that are there; None of an array of
    anything but numbers.
    """

    def __init__(self, *_: Any) -> None:
        self.tensor: Tensor | None = torch.empty(0)

    def build(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, fortran, data = state
        self.tensor = tensor_of(data, dtype, shape, "F" if fortran else "C")


def tensor_of(data: Any, dtype: Any, shape: Sequence[int], order: Any = "C") -> Tensor | None:
    """Returns the tensor of an array's bytes; None where they are no numbers. Raises RefusedError
    where there are more or less of them than its shape says.
    """
    if not isinstance(dtype, DType) or dtype.dtype is None:
        return None
    if isinstance(data, str):  # what Python 2 wrote
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise RefusedError("an array that is not made of bytes")
    values = np.frombuffer(data, dtype.dtype)
    if any(size < 0 for size in shape) or prod(shape) != values.size:
        raise RefusedError(f"an array of shape {tuple(shape)} made of {values.size} values")
    ordered = values.reshape(shape, order="F" if order == "F" else "C")
    return torch.from_numpy(ordered.astype(dtype.dtype.newbyteorder("=")))


def _from_buffer(data: Any, dtype: Any, shape: Sequence[int], order: Any = "C") -> Array:
    array = Array()
    array.tensor = tensor_of(data, dtype, shape, order)
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    number = tensor_of(data, dtype, ()) if isinstance(data, str | bytes | bytearray) else None
    return Inert("numpy.generic") if number is None else number.item()


def _encode(text: Any, encoding: Any = "latin1") -> Any:
    return text.encode("latin1") if encoding == "latin1" and isinstance(text, str) else b""


def _bytes(data: Any = b"", encoding: Any = "latin1") -> Any:
    return bytes(data) if isinstance(data, bytes | bytearray) else _encode(data, encoding)


def _new(kind: Any = None, *_: Any) -> Any:
    return Array() if kind is None or str(kind) == "numpy.ndarray" else Inert(str(kind))


CALLS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "numpy.dtype": DType,
    **{
        f"numpy.{core}.{module}.{name}": stand_in
        for core in ("core", "_core")
        for module in ("multiarray", "numeric")
        for name, stand_in in (
            ("_reconstruct", _new),
            ("_frombuffer", _from_buffer),
            ("scalar", _scalar),
        )
    },
}
"""A pickle's names for numpy's functions, and for what holds an array's bytes."""


def tensors_of(value: Any, done: dict[int, Any] | None = None) -> Any:
    """Returns nested containers with tensors for arrays. One may hold another that is done already,
    or itself.
    """
    done = {} if done is None else done
    if isinstance(value, Array):
        return Inert("an array of no numbers") if value.tensor is None else value.tensor
    if isinstance(value, tuple):
        return tuple(tensors_of(item, done) for item in value)
    if not isinstance(value, dict | list) or id(value) in done:
        return done.get(id(value), value)
    done[id(value)] = value
    if isinstance(value, list):
        value[:] = [tensors_of(item, done) for item in value]
        return value
    if isinstance(value, Inert):
        value.args, value.state = tensors_of(value.args, done), tensors_of(value.state, done)
    for key, item in value.items():
        value[key] = tensors_of(item, done)
    return value
