"""Files that are no weights, or that mean harm: what a reader must survive. Each has a maker."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch7
from crafted import (
    Calls,
    array_of,
    legacy,
    legacy_of,
    modern,
    pickled,
    safetensors,
    state,
    storage_claim,
    zip_of,
)

MARK = Path("a_file_that_only_code_could_make")

ATTACKS = {
    "os.system": ("os.system", f"touch {MARK}"),
    "posix.system": ("posix.system", f"touch {MARK}"),
    "eval": ("builtins.eval", f"open({str(MARK)!r}, 'w')"),
    "exec": ("builtins.exec", f"open({str(MARK)!r}, 'w')"),
    "open": ("builtins.open", str(MARK), "w"),
    "Popen": ("subprocess.Popen", ["touch", str(MARK)]),
    "import": ("importlib.import_module", "antigravity"),
    "getattr": ("operator.attrgetter", "system"),
    "runpy": ("runpy.run_path", str(MARK)),
    "torch.load": ("torch.load", str(MARK)),
    "cpp": ("torch.utils.cpp_extension.load_inline", "x", "int x;"),
}

CLAIMS = {
    "bytearray": ("builtins.bytearray", 10**13),
    "numpy.zeros": ("numpy.zeros", 10**13),
    "torch.zeros": ("torch.zeros", 10**13),
    "a function nobody knows": ("a.module.of_nobody", 10**13),
}
"""Calls that take memory, or that nobody here has: all are read past."""


def deep(levels: int) -> bytes:
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


def paired(levels: int) -> bytes:
    """A tuple of two that are the same tuple of two, and so on, as a key: its hash never ends."""
    return b"\x80\x02}K\x01" + b"q\x00h\x00\x86" * levels + b"K\x01s."


def many_objects(count: int) -> bytes:
    return b"\x80\x02](" + b"ca\nb\n)R" * count + b"e."


def laughing(levels: int = 40) -> bytes:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"model": value, "b": value}
    return pickled(value)


def own_parent() -> bytes:
    value: dict[str, Any] = {}
    value["state_dict"] = value
    return pickled(value)


def compressed(size: int) -> bytes:
    return zip_of(bytes(size), compression=zipfile.ZIP_DEFLATED)


def with_link() -> bytes:
    out = io.BytesIO(modern())
    with zipfile.ZipFile(out, "a") as archive:
        entry = zipfile.ZipInfo("archive/link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def tar_with_link() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("storages")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return out.getvalue()


def other_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", b"hello")
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, **{k: v.numpy() for k, v in state().items()})
    return out.getvalue()


def huge_directory() -> bytes:
    content = bytearray(modern())
    at = content.rfind(b"PK\5\6")
    content[at + 12 : at + 16] = struct.pack("<I", 2**31)
    return bytes(content)


def changed(**values: torch.Tensor) -> bytes:
    return modern({**state(), **{key.replace("__", "."): v for key, v in values.items()}})


def offsets(begin: int, end: int) -> bytes:
    return safetensors(
        {"conv1.weight": {"dtype": "F32", "shape": [4], "data_offsets": [begin, end]}}, bytes(16)
    )


def torch7_tensor(**claims: Any) -> bytes:
    return torch7.dump({"weight": torch7.tensor(torch.ones(8), **claims)})


def torch7_tables(levels: int) -> bytes:
    opened = (struct.pack("<5i", 3, number, 1, 5, 1) for number in range(1, levels))
    return b"".join(opened) + struct.pack("<3i", 3, levels, 0)


def many(count: int) -> dict[str, int]:
    return {f"key{i}": i for i in range(count)}


MAKERS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\x80",
    "a page of the web": lambda: b"<!DOCTYPE html><html>404</html>",
    "zeros": lambda: bytes(2**16),
    "zip: nothing but a beginning": lambda: b"PK\x03\x04",
    "zip: truncated": lambda: modern()[:-3000],
    "zip: of something else": other_zip,
    "zip: no instructions": lambda: zip_of(b""),
    "zip: a bomb": lambda: compressed(2**26),
    "zip: a link": with_link,
    "zip: huge directory": huge_directory,
    "zip: keys by the thousand": lambda: zip_of(pickle.dumps(many(200_000), 2)),
    "zip: a storage larger than the file": lambda: zip_of(
        storage_claim(10**12, (10**12,), (1,)), {"archive/data/0": bytes(64)}
    ),
    "zip: a storage that is not there": lambda: zip_of(storage_claim(16, (16,), (1,))),
    "zip: a tensor larger than its storage": lambda: zip_of(
        storage_claim(16, (10**6, 10**6), (0, 0)), {"archive/data/0": bytes(64)}
    ),
    "zip: values in values": lambda: zip_of(deep(200_000)),
    "old: truncated": lambda: legacy()[:-3000],
    "old: a storage larger than the file": lambda: legacy_of(
        storage_claim(10**12, (10**12,), (1,), None)
    ),
    "old: a storage of some gigabytes": lambda: legacy_of(
        storage_claim(10**9, (10**9,), (1,), None)
    ),
    "old: a storage that does not follow": lambda: legacy_of(
        storage_claim(10**9, (10**9,), (1,), None), ()
    ),
    "old: a tensor larger than its storage": lambda: legacy_of(
        storage_claim(16, (10**9,), (1,), None)
    ),
    "arrays: of objects": lambda: array_of((1,), "O8", [1]),
    "arrays: larger than their bytes": lambda: array_of((10**9, 10**3), "f4", b"1234"),
    "arrays: of negative shape": lambda: array_of((-1, -1), "f4", b"1234"),
    "pickle: outside reference": lambda: b"\x80\x02X\x01\x00\x00\x00aQ.",
    "pickle: a million keys": lambda: pickle.dumps(many(1_000_000), 2),
    "pickle: values in values": lambda: deep(200_000),
    "pickle: doubled forty times": laughing,
    "pickle: holds itself": own_parent,
    "pickle: a key that cannot be hashed in time": lambda: paired(60),
    "pickle: a key of tuples in tuples": lambda: (
        b"\x80\x02}" + b"K\x01" + b"\x85" * 10**6 + b"K\x01s."
    ),
    "pickle: objects by the thousand": lambda: many_objects(200_000),
    "zip: objects by the thousand": lambda: zip_of(many_objects(200_000)),
    "zip: a number of many digits": lambda: zip_of(
        storage_claim(10**1_000_00, (10**1_000_00,), (1,)), {"archive/data/0": bytes(64)}
    ),
    "zip: an array of numpy's": lambda: npz(),
    "pickle: bytes that are not there": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**62),
    "pickle: text that is not there": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "pickle: a registered extension": lambda: b"\x80\x02\x82\x01.",
    "pickle: a list": lambda: pickled([1, 2, 3]),
    "safetensors: a long header": lambda: struct.pack("<Q", 2**62) + b"{",
    "safetensors: no JSON": lambda: safetensors(b"{" + b"x" * 100),
    "safetensors: offsets outside": lambda: offsets(0, 2**40),
    "safetensors: offsets backwards": lambda: offsets(16, 0),
    "safetensors: truncated": lambda: safetensors(
        {"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}, bytes(100)
    ),
    "safetensors: a million keys": lambda: safetensors(
        b"{%s}"
        % b",".join(
            b'"k%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(10**6)
        )
    ),
    "torch7: a storage larger than the file": lambda: torch7_tensor(items=10**12),
    "torch7: a storage of less than nothing": lambda: torch7_tensor(items=-1),
    "torch7: strides out of the storage": lambda: torch7_tensor(shape=(8,), strides=(10**9,)),
    "torch7: strides backwards": lambda: torch7_tensor(shape=(8,), strides=(-1,)),
    "torch7: an offset out of the storage": lambda: torch7_tensor(offset=2**40),
    "torch7: an offset before the storage": lambda: torch7_tensor(offset=-(2**40)),
    "torch7: a tensor larger than its storage": lambda: torch7_tensor(
        shape=(10**6, 10**6), strides=(0, 0)
    ),
    "torch7: a billion dimensions": lambda: (
        torch7_tensor(shape=())[:-120] + struct.pack("<i", 2**30)
    ),
    "torch7: a text longer than the file": lambda: (
        torch7.dump({"a": 1})[:12] + struct.pack("<2i", 2, 2**31 - 1)
    ),
    "torch7: a table of more than there is": lambda: struct.pack("<3i", 3, 1, 2**31 - 1),
    "torch7: a million keys": lambda: torch7.dump(many(1_000_000)),
    "torch7: tables in tables": lambda: torch7_tables(100_000),
    "torch7: a table that is its own key": lambda: struct.pack("<8i", 3, 1, 1, 3, 1, 3, 1, 0),
    "torch7: a function": lambda: struct.pack("<4i", 8, 1, 4, 0) + bytes(8),
    "torch7: a class of Python's": lambda: torch7.dump(torch7.Object("os.system", {"a": "ls"})),
    "torch7: truncated": lambda: torch7_tensor()[:-9],
    "tar with a link": tar_with_link,
    "NaN": lambda: changed(conv1__weight=torch.full((16, 3, 7, 7), torch.nan)),
    "infinity": lambda: changed(bn1__weight=torch.full((16,), torch.inf)),
    "integers": lambda: changed(bn1__weight=torch.ones(16, dtype=torch.int64)),
    "another network": lambda: modern({"conv1.weight": torch.zeros(64, 3, 7, 7)}),
    "no tensors": lambda: modern({"state_dict": {"epoch": 3}}),
    "a list of tensors": lambda: modern([torch.zeros(3)]),
    **{
        f"zip: {name}": (lambda attack=attack: zip_of(pickled({"a": Calls(*attack)})))
        for name, attack in (ATTACKS | CLAIMS).items()
    },
    **{
        f"old: {name}": (lambda attack=attack: legacy_of(pickled({"a": Calls(*attack)})))
        for name, attack in ATTACKS.items()
    },
    **{
        f"pickle: {name}": (lambda attack=attack: pickled({"a": Calls(*attack)}))
        for name, attack in (ATTACKS | CLAIMS).items()
    },
}
"""What a file contains, and what makes it."""
