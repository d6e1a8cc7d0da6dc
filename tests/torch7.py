"""Files as Torch7 writes them: its types and their numbers are those of torch/File.lua."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

NUMBER, STRING, TABLE, OBJECT, BOOLEAN = 1, 2, 3, 4, 5


class Object:
    """Of a Torch7 class, with what it keeps: a table, or bytes as the class writes itself."""

    def __init__(self, name: str, fields: Mapping[str, Any] | bytes) -> None:
        self.name, self.fields = name, fields


class _Writer:
    def __init__(self) -> None:
        self.indices: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no two objects have one address

    def write(self, value: Any) -> bytes:
        if value is None:
            return integer(0)
        if isinstance(value, bytes):  # what stands there as it is
            return value
        if isinstance(value, bool):
            return integer(BOOLEAN) + integer(value)
        if isinstance(value, int | float):
            return integer(NUMBER) + struct.pack("<d", value)
        if isinstance(value, str):
            return integer(STRING) + text(value)
        kind = OBJECT if isinstance(value, Object | Tensor) else TABLE
        known = id(value) in self.indices
        index = self.indices.setdefault(id(value), len(self.indices) + 1)
        self.kept.append(value)
        return integer(kind) + integer(index) + (b"" if known else self._content(value))

    def _content(self, value: Any) -> bytes:
        if isinstance(value, Tensor):
            return self._content(tensor(value))
        if isinstance(value, Object):
            inner = value.fields if isinstance(value.fields, bytes) else self.write(value.fields)
            return text("V 1") + text(value.name) + inner
        pairs = dict(enumerate(value, 1)) if isinstance(value, list) else value
        written = [self.write(key) + self.write(item) for key, item in pairs.items()]
        return integer(len(pairs)) + b"".join(written)


def integer(value: int) -> bytes:
    return struct.pack("<i", value)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


_storages = itertools.count(1_000_000)
"""Their numbers, which must not be those of other objects."""


def tensor(value: Tensor, name: str = "torch.FloatTensor", **claims: Any) -> Object:
    """A tensor with a storage of its own; `claims` are said in place of what is true."""
    said = {"shape": value.shape, "strides": value.stride(), "offset": 0, "items": value.numel()}
    said |= claims
    data = value.numpy().tobytes()
    storage = text("V 1") + text(name.replace("Tensor", "Storage"))
    storage += struct.pack("<q", said["items"]) + data
    longs = [*said["shape"], *said["strides"], said["offset"] + 1]
    return Object(
        name,
        integer(len(said["shape"]))
        + struct.pack(f"<{len(longs)}q", *longs)
        + integer(OBJECT)
        + integer(next(_storages))
        + storage,
    )


def dump(value: Any) -> bytes:
    return _Writer().write(value)


def module(name: str, *children: Object, **fields: Any) -> Object:
    return Object(name, {"train": False, "modules": list(children), **fields})


def of(layer: nn.Module, name: str = "torch.FloatTensor") -> Object:
    """A layer of PyTorch's, with gradients, as the published files have them."""
    kinds = {nn.Conv2d: "cudnn.SpatialConvolution", nn.Linear: "nn.Linear"}
    fields: dict[str, Any] = {
        key: tensor(value.detach(), name)
        for key, value in layer.state_dict().items()
        if value.dim()
    }
    fields["gradWeight"] = tensor(torch.ones(layer.get_parameter("weight").shape), name)
    return Object(kinds.get(type(layer), "nn.SpatialBatchNormalization"), fields)


def network(peer: Any, name: str = "torch.FloatTensor") -> Object:
    """A ResNeXt of torchvision's as the authors' code builds it."""

    def sequence(*children: Object) -> Object:
        return module("nn.Sequential", *children)

    def layer(value: nn.Module) -> Object:
        return of(value, name)

    def block(value: Any) -> Object:
        relu = module("cudnn.ReLU", inplace=True)
        branch = sequence(
            layer(value.conv1), layer(value.bn1), relu,
            layer(value.conv2), layer(value.bn2), relu,
            layer(value.conv3), layer(value.bn3),
        )  # fmt: skip
        shortcut = module("nn.Identity")
        if value.downsample is not None:
            shortcut = sequence(*map(layer, value.downsample))
        table = module("nn.ConcatTable", branch, shortcut)
        return sequence(table, module("nn.CAddTable", inplace=True), module("cudnn.ReLU"))

    stages = [peer.layer1, peer.layer2, peer.layer3, peer.layer4]
    return sequence(
        layer(peer.conv1), layer(peer.bn1), module("cudnn.ReLU"), module("nn.SpatialMaxPooling"),
        *(sequence(*map(block, stage)) for stage in stages),
        module("cudnn.SpatialAveragePooling"), module("nn.View"), layer(peer.fc),
    )  # fmt: skip
