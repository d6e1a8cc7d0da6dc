"""Makes files that are damaged, or mean harm, from whole ones; each from a seed."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

MARK = "a_file_that_only_code_could_make"
"""The calls in hostile files would leave a file of this name behind."""

State = dict[str, Tensor]


def seeds_of_weights(state: State) -> dict[str, bytes]:
    """Returns the same weights in files of each kind, and what stands around them."""
    arrays = {key: value.numpy() for key, value in state.items()}
    contents: dict[str, Any] = {
        "plain": state,
        "wrapped": {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        "pair": {f"{word}.{k}": v for word in ("student", "teacher") for k, v in state.items()},
        "objects": {"model": state, "args": np.float64(3), "set": {1, 2}, "type": torch.float16},
    }
    found = {f"zip, {name}": _saved(content) for name, content in contents.items()}
    found |= {f"old, {name}": _saved(c, new=False) for name, c in contents.items()}
    found["pickle"] = pickle.dumps({"model": arrays, "__author__": "somebody"}, 2)
    found["pickle of tensors"] = pickle.dumps(state, 4)
    found["safetensors"] = save(state, {"format": "pt"})
    return found


def seeds_of_images() -> dict[str, bytes]:
    """Returns one picture in files of several kinds."""
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    image, found = Image.fromarray(pixels), {}
    for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"):
        out = io.BytesIO()
        image.save(out, kind)
        found[kind] = out.getvalue()
    return found


def seeds_of_annotations() -> dict[str, bytes]:
    """Returns a small file in COCO's format."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in (1, 2, 3)]
    box = {"category_id": 1, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 0}
    polygon = [[1, 2, 31, 2, 31, 22, 1, 22]]
    annotations = [{"id": i, "image_id": i, "segmentation": polygon, **box} for i in (1, 2, 3)]
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {"COCO": json.dumps(content).encode()}


def _saved(content: Any, *, new: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=new)
    return out.getvalue()


def _truncated(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data))]


def _flipped(draw: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    # Most harm is done where a file says what it holds.
    ends = min(len(out), 4096)
    for _ in range(draw.choice((1, 2, 8, 64))):
        at = draw.choice(
            (draw.randrange(len(out)), draw.randrange(ends), -1 - draw.randrange(ends))
        )
        out[at] ^= 1 << draw.randrange(8)
    return bytes(out)


def _spliced(draw: random.Random, data: bytes) -> bytes:
    begin, end = sorted(draw.randrange(len(data)) for _ in range(2))
    middle = draw.choice((b"", bytes(end - begin), data[begin:end] * 2, draw.randbytes(16)))
    return data[:begin] + middle + data[end:]


CALLED = (
    b"cos\nsystem\nX%c\0\0\0touch %s\x85R",
    b"cbuiltins\neval\nX%c\0\0\0touch %s\x85R",
    b"cbuiltins\nexec\nX%c\0\0\0touch %s\x85R",
    b"csubprocess\ncall\nX%c\0\0\0touch %s\x85R",
    b"cnt\nsystem\nX%c\0\0\0touch %s\x85R",
    b"ctorch.hub\nload\nX%c\0\0\0touch %s\x85R",
    b"cnumpy.f2py.crackfortran\nmyeval\nX%c\0\0\0touch %s\x85R",
    b"casyncio.base_subprocess\nPopen\nX%c\0\0\0touch %s\x85R",
    b"cpydoc\npipepager\nX%c\0\0\0touch %s\x85R",
)


def _call(draw: random.Random) -> bytes:
    text = MARK.encode()
    return draw.choice(CALLED) % (len(text) + 6, text)


def _changed_pickle(draw: random.Random, data: bytes) -> bytes:
    """Changes instructions: names, numbers, sizes, calls, and what is put in front."""
    kind = draw.randrange(6)
    if kind == 0:  # what is named
        names = list(re.finditer(rb"c([\w.]+)\n(\w+)\n", data))
        if names:
            found, call = draw.choice(names), _call(draw)
            return data[: found.start()] + call[: call.index(b"X")] + data[found.end() :]
    if kind == 1:  # something is called where a value was
        at = data.find(b"K", draw.randrange(len(data)))
        if at > 0:
            return data[:at] + _call(draw) + data[at + 2 :]
    if kind == 2:  # a number is another
        at = data.find(b"K", draw.randrange(len(data)))
        if at > 0:
            number = draw.choice(
                (b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\x7f" * 8)
            )
            return data[:at] + number + data[at + 2 :]
    if kind == 3:  # an instruction is another
        out = bytearray(data)
        for _ in range(draw.choice((1, 3))):
            out[draw.randrange(len(out))] = draw.choice(
                b"(.0NKtR}]sbuaeq\x85\x86\x93\x94\x81Qcoid2"
            )
        return bytes(out)
    if kind == 4:  # values in values, or the same ones again and again
        deep = draw.choice((b"]" * 10**5, b"]" + b"q\x63h\x63\x86" * 60, b"\x85" * 10**4))
        return data[:2] + deep + data[2:]
    return data[:2] + _call(draw) + b"0" + data[2:]


def _in_zip(draw: random.Random, data: bytes) -> bytes:
    """Changes the instructions of an archive, or how its entries are stored."""
    out, how, bomb = io.BytesIO(), draw.randrange(5), draw.randrange(100)
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for number, entry in enumerate(before.infolist()):
            content, compressed = before.read(entry), zipfile.ZIP_STORED
            if entry.filename.endswith("data.pkl"):
                content = _changed_pickle(draw, content)
            elif how == 1 and draw.random() < 0.2:
                content = content[: draw.randrange(len(content) + 1)]
            elif how == 2 and number == bomb:
                content, compressed = bytes(2**24), zipfile.ZIP_DEFLATED
            elif how == 3 and draw.random() < 0.1:
                continue
            name = entry.filename.replace("data/", "../") if how == 4 else entry.filename
            after.writestr(name, content, compress_type=compressed)
    return out.getvalue()


def _in_header(draw: random.Random, data: bytes) -> bytes:
    """Changes what a safetensors file says of its tensors, or how long that is."""
    (size,) = struct.unpack_from("<Q", data)
    if draw.random() < 0.2:
        size = draw.choice((0, 1, 2**62, 2**31, len(data), size - 1, size + 1))
        return struct.pack("<Q", size) + data[8:]
    header = json.loads(data[8 : 8 + size])
    entry = header[draw.choice([key for key in header if key != "__metadata__"])]
    number = draw.choice((-1, 0, 2**31, 2**62, 2**70, 1.5, "1", None))
    change: dict[str, Any] = {
        "dtype": draw.choice(("F64", "BOOL", "F8_E4M3", "X", "", 3)),
        "shape": [number, *entry["shape"]],
        "data_offsets": draw.choice(([0, number], [number, 0], [], [16, 0])),
    }
    key = draw.choice(list(change))
    entry[key] = change[key]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _in_json(draw: random.Random, data: bytes) -> bytes:
    """Puts another value in the place of one, or values in values."""
    odd = ("-1", "1e400", "NaN", '"x"', "null", "[]", "{}", "true", "[" * 10**5, "9" * 5000)
    values = list(re.finditer(rb'\d+|"\w*"|\[|\]', data))
    at = draw.choice(values)
    return data[: at.start()] + draw.choice(odd).encode() + data[at.end() :]


CHANGES: tuple[tuple[Callable[[str], bool], Callable[[random.Random, bytes], bytes]], ...] = (
    (lambda _: True, _truncated),
    (lambda _: True, _flipped),
    (lambda _: True, _spliced),
    (lambda kind: kind.startswith("zip"), _in_zip),
    (lambda kind: kind.startswith(("old", "pickle")), _changed_pickle),
    (lambda kind: kind == "safetensors", _in_header),
    (lambda kind: kind == "COCO", _in_json),
)
"""For which kinds of files, and what changes them."""


def make(seed: int, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Returns how a file was made, and what it holds."""
    draw = random.Random(seed)
    kind = draw.choice(sorted(whole))
    changes = [change for fits, change in CHANGES if fits(kind)]
    change = changes[-1] if draw.random() < 0.4 else draw.choice(changes)
    return f"{kind}: {change.__name__.strip('_')}", change(draw, whole[kind]) or b"x"
