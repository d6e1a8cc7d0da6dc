"""Files of weights are written with instructions and claims that no library would write."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from typing import Any

import torch
from helpers import SMALL

from resnext_backbones import ResNeXt


def state() -> dict[str, torch.Tensor]:
    return {k: v.contiguous() for k, v in ResNeXt(SMALL).state_dict().items()}


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function: str, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return _Named(self.function), self.arguments


class _Named:
    """Pickled as a name, whether or not anything has it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> None:
        raise AssertionError


class _Pickler(pickle._Pickler):
    def save(self, value: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(value, _Named):
            module, name = value.name.rsplit(".", 1)
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        else:
            super().save(value, *args, **kwargs)


def pickled(value: Any, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol).dump(value)
    return out.getvalue()


def zip_of(data: bytes, records: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """An archive as torch.save writes it, with these instructions."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        for name, content in (records or {}).items():
            archive.writestr(name, content)
    return out.getvalue()


def storage_claim(
    items: int, shape: tuple[int, ...], stride: tuple[int, ...], *view: None
) -> bytes:
    """Instructions for one tensor over a storage that is said to have so many items.

    Args:
        view: None in a file of the old kind, where a storage may be a part of another.
    """

    class Pickler(_Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, str) and value == "the storage":
                return "storage", _Named("torch.FloatStorage"), "0", "cpu", items, *view
            return None

    class Tensor:
        def __reduce__(self) -> Any:
            rebuild = _Named("torch._utils._rebuild_tensor_v2")
            return rebuild, ("the storage", 0, shape, stride, False, {})

    out = io.BytesIO()
    Pickler(out, 2).dump({"conv1.weight": Tensor()})
    return out.getvalue()


def legacy(value: Any = None) -> bytes:
    out = io.BytesIO()
    torch.save(state() if value is None else value, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def modern(value: Any = None) -> bytes:
    out = io.BytesIO()
    torch.save(state() if value is None else value, out)
    return out.getvalue()


def legacy_of(data: bytes, storages: tuple[str, ...] = ("0",)) -> bytes:
    """A file of the old kind with these instructions, and a list of what storages follow."""
    head = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({"little_endian": True})]
    return b"".join([*head, data, pickled(list(storages))])


def array_of(shape: tuple[int, ...], code: str, data: Any) -> bytes:
    class Array:
        def __reduce__(self) -> Any:
            dtype = Calls("numpy.dtype", code, 0, 1)
            built = _Named("numpy.core.multiarray._reconstruct")
            return built, (_Named("numpy.ndarray"), (0,), b"b"), (1, shape, dtype, False, data)

    return pickled({"conv1_w": Array()})


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
