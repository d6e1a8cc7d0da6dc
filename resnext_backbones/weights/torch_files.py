"""Reads the tensors of pickles, and what older versions of `torch.save` wrote, as data.

Storages are parts of the file in memory, and a tensor is a view of one that lies within it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights import arrays
from resnext_backbones.weights.pickles import PLAIN, Calls, Inert, RefusedError, read_pickle

MOST_CLAIMED = 16
"""All tensors together have at most this many times the file's bytes: those that are tied are named
several times, and one that is expanded has less behind it than its shape says."""

MOST_DIMENSIONS = 64

ALIGNMENT = 16
"""Bytes of the largest value. Older files have storages wherever they end."""

STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
    "Untyped": torch.uint8,
}
"""A `torch.FloatStorage` has values of this type; of quantised ones, the integers."""


@dataclass(frozen=True)
class Storage:
    """Holds the bytes of tensors, and the type of their values."""

    bytes: Tensor
    dtype: torch.dtype


def _dtype(name: Any) -> torch.dtype:
    found = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise RefusedError(f"values of type {name}, which this PyTorch does not have")
    return found


def _storage_dtype(kind: Any) -> torch.dtype:
    name = str(kind).rsplit(".", 1)[-1].removesuffix("Storage")
    if name not in STORAGES:
        raise RefusedError(f"a storage of type {kind}, which is of no numbers")
    return STORAGES[name]


def _plain(key: Any) -> str | int:
    """Returns a storage's name; any other value could take for ever to look up."""
    if not isinstance(key, str | int):
        raise RefusedError(f"a storage named by a {type(key).__name__}")
    return key


class TorchReader:
    """Reads pickles whose tensors lie in one file.

    Args:
        file: all of its bytes.
        calls: further functions, by the names in a pickle that mean them.
        swapped: whether the order of bytes is that of a big-endian machine.
    """

    def __init__(self, file: Tensor, calls: Calls, *, swapped: bool = False) -> None:
        self._file, self._swapped = file, swapped
        self._claims = 0
        self._storages: dict[str | int, Tensor] = {}
        self.places: dict[Any, tuple[int, int]] = {}
        """Where the bytes of each storage begin, and how many there are."""
        functions: dict[str, Callable[..., Any]] = {
            "_rebuild_tensor": self._tensor,
            "_rebuild_tensor_v2": self._tensor,
            "_rebuild_tensor_v3": self._typed_tensor,
            "_rebuild_parameter": lambda data, *_: data,
            "_rebuild_parameter_with_state": lambda data, *_: data,
            "_rebuild_qtensor": self._quantised,
            "_rebuild_sparse_tensor": _sparse,
            "_rebuild_device_tensor_from_numpy": _from_array,
            "_rebuild_device_tensor_from_cpu_tensor": lambda data, *_: data,
            "_rebuild_meta_tensor_no_storage": lambda *_: Inert("a tensor without values"),
            "_rebuild_wrapper_subclass": lambda kind, *args: Inert(str(kind), args),
            "_rebuild_nested_tensor": lambda *_: Inert("a nested tensor"),
        }
        self._calls: dict[str, Callable[..., Any]] = {
            **PLAIN,
            **arrays.CALLS,
            **{f"torch._utils.{name}": function for name, function in functions.items()},
            "torch._tensor._rebuild_from_type_v2": self._of_type,
            "torch.tensor._rebuild_from_type_v2": self._of_type,
            "torch.nn.parameter.Parameter": lambda data=None, *_: data,
            "torch.serialization._get_layout": str,
            "torch.Size": lambda sizes=(): tuple(sizes),
            "torch.storage._load_from_bytes": _load_from_bytes,
            **calls,
        }

    def read(self, data: Any) -> Any:
        """Returns what a pickle holds, with tensors; a storage by itself is a `Storage`."""
        return read_pickle(data, self._calls, self._storage)

    def _storage(self, reference: Any) -> Any:
        what, kind, *rest = reference
        if what == "module":  # older files say where its source was
            return kind
        key, _, items, *views = rest
        key = _plain(key)
        dtype = _storage_dtype(kind)
        begin, held = self.places.get(key, (0, 0))
        size = int(items) * dtype.itemsize
        if not 0 <= size <= held and key in self.places:
            raise RefusedError(f"a storage of {size} bytes made of {held}")
        if key not in self._storages:
            self._storages[key] = self._part(begin, held)
        data = self._storages[key][:size]
        if views and views[0] is not None:  # it is a part of another
            _, offset, items = views[0]
            data = data[offset * dtype.itemsize :][: items * dtype.itemsize]
        return Storage(data, dtype)

    def _part(self, begin: int, size: int) -> Tensor:
        """Returns a part of the file as a storage of its own, as torch.save must find it again."""
        part = self._file.untyped_storage()[begin : begin + size] if size else None
        data = torch.empty(0, dtype=torch.uint8)
        if part is None:
            return data
        data = data.set_(part)
        return data.clone() if data.data_ptr() % ALIGNMENT else data

    def _tensor(
        self, storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *more: Any
    ) -> Any:
        if not isinstance(storage, Storage):
            return Inert("a tensor of an unknown storage")
        flags = more[2] if len(more) > 2 and isinstance(more[2], dict) else {}
        tensor = self._view(storage.bytes, storage.dtype, offset, size, stride)
        tensor = tensor.conj() if flags.get("conj") else tensor
        return -tensor if flags.get("neg") else tensor

    def _typed_tensor(self, storage: Any, *given: Any) -> Any:
        offset, size, stride, _, _, dtype, *_ = given
        return self._tensor(Storage(storage.bytes, _dtype(dtype)), offset, size, stride)

    def _view(
        self,
        data: Tensor,
        dtype: torch.dtype,
        offset: int,
        size: Sequence[int],
        stride: Sequence[int],
    ) -> Tensor:
        """Returns the view; raises RefusedError where it does not lie within its storage."""
        item, shape = dtype.itemsize, tuple(size)
        items = len(data) // item
        if len(shape) > MOST_DIMENSIONS or max((0, offset, *shape, *stride)) >= 2**63:
            raise RefusedError(f"a tensor of {len(shape)} dimensions made of {len(data)} bytes")
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        count = prod(shape)
        self._claims += count * item
        wrong = min((offset, *shape, *stride)) < 0 or (count and last >= items)
        if wrong or self._claims > MOST_CLAIMED * len(self._file):
            raise RefusedError(f"a tensor of shape {shape} made of {len(data)} bytes")
        if not count:
            return torch.empty(shape, dtype=dtype)
        data = data[: items * item]
        if self._swapped:
            unit = item // 2 if dtype.is_complex else item
            data = data.reshape(-1, unit).flip(1).reshape(-1)
        values = data.view(dtype)
        return values.as_strided(shape, tuple(stride), values.storage_offset() + offset)

    def _quantised(self, storage: Storage, *given: Any) -> Any:
        """Returns the values that quantised ones stand for."""
        *where, how = given[:4]
        values = self._tensor(storage, *where).float()
        scheme, scale, zero, *axis = how
        if str(scheme) == "torch.per_tensor_affine":
            return (values - float(zero)) * float(scale)
        if not str(scheme).startswith("torch.per_channel_affine"):
            return Inert(f"a tensor quantised as {scheme}")
        shape = [-1 if i == axis[0] else 1 for i in range(values.dim())]
        scale, zero = (torch.as_tensor(v).float().reshape(shape) for v in (scale, zero))
        return (values - zero) * scale

    def _of_type(self, function: Any, kind: Any, args: Any, state: Any) -> Any:
        """Returns a tensor of a class of its own; one that is divided among processes is whole
        where its local part has its shape.
        """
        call = self._calls.get(str(function))
        made = call(*args) if call else Inert(str(kind))
        parts = state if isinstance(state, tuple) else (state,)
        local = next((p["_local_tensor"] for p in parts if p and "_local_tensor" in p), None)
        if isinstance(made, Inert) and isinstance(local, Tensor) and len(args) > 2:
            return local if local.shape == torch.Size(args[2]) else Inert(str(kind))
        return made


def _sparse(layout: str, data: Sequence[Any]) -> Tensor:
    name = str(layout).removeprefix("torch.")
    if name == "sparse_coo":
        indices, values, size, *_ = data
        return torch.sparse_coo_tensor(indices, values, size, check_invariants=True)
    kinds = {f"sparse_{k}": getattr(torch, f"sparse_{k}") for k in ("csr", "csc", "bsr", "bsc")}
    first, second, values, size = data
    return torch.sparse_compressed_tensor(
        first, second, values, size, layout=kinds[name], check_invariants=True
    )


def _from_array(array: Any, dtype: Any, *_: Any) -> Any:
    tensor = getattr(array, "tensor", None)
    return Inert("an array of no numbers") if tensor is None else tensor.to(_dtype(dtype))


def _load_from_bytes(data: Any) -> Any:
    """Returns the storage that a pickle of tensors holds as a file of its own."""
    if not isinstance(data, bytes) or not data:
        raise RefusedError("a storage that is not made of bytes")
    return read_legacy(io.BytesIO(data), torch.frombuffer(bytearray(data), dtype=torch.uint8), {})


def mapped(path: Path, size: int) -> Tensor:
    """Returns a file's bytes, which are read where they are needed."""
    storage = torch.UntypedStorage.from_file(str(path), False, size)
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[arg-type]


def read_plain(path: Path, data: Any, calls: Calls) -> Any:
    """Returns what a pickle of plain values, arrays and tensors holds."""
    return TorchReader(mapped(path, len(data)), calls).read(data)


def read_legacy(data: Any, file: Tensor, calls: Calls) -> Any:
    """Returns what torch.save wrote before version 1.6: behind four pickles and a list of storages
    come these.
    """
    for _ in range(3):
        read_pickle(data)
    begin, types = data.tell(), {}

    def record(reference: Any) -> None:
        if reference[0] == "storage":
            types[_plain(reference[2])] = _storage_dtype(reference[1])

    read_pickle(data, {}, record)
    reader = TorchReader(file, calls)
    keys = read_pickle(data)
    for key in keys if isinstance(keys, list) else ():
        at = data.tell()
        (items,) = struct.unpack("<q", file[at : at + 8].numpy().tobytes())
        size, left = items * types[_plain(key)].itemsize, len(file) - at - 8
        if not 0 <= size <= left:
            raise RefusedError(f"a storage of {size} bytes where {left} are left")
        reader.places[key] = at + 8, size
        data.seek(at + 8 + size)
    data.seek(begin)
    return reader.read(data)
