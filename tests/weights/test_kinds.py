"""Tensors and objects of every kind in a file: plain values, or one message; nothing is built."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import importlib
import pathlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crafted
import hostile
import numpy as np
import pytest
import torch
import yacs.config
from helpers import drawn, small
from torch import Tensor, nn

from resnext_backbones import load_weights
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.pickles import Inert
from resnext_backbones.weights.write import convert

STATE = small().state_dict()
ONLY = "conv1.weight"


class Subclass(Tensor):
    """What libraries make of tensors."""


class Trained(nn.Parameter):
    """Likewise."""


def by_channel(value: Tensor) -> Tensor:
    scales = torch.linspace(0.01, 0.1, len(value))
    return torch.quantize_per_channel(
        value.contiguous(), scales, torch.zeros(len(value)), 0, torch.qint8
    )


def of_one(value: Tensor) -> Tensor:
    return torch.quantize_per_tensor(value.contiguous(), 0.05, 3, torch.quint8)


def non_contiguous(value: Tensor) -> Tensor:
    wide = torch.zeros(*value.shape[:-1], 2 * value.shape[-1])
    wide[..., ::2] = value
    return wide[..., ::2]


PLAIN = {
    "bfloat16": lambda v: v.bfloat16(),
    "half": lambda v: v.half(),
    "double": lambda v: v.double(),
    "float8_e4m3fn": lambda v: v.to(torch.float8_e4m3fn),
    "float8_e5m2": lambda v: v.to(torch.float8_e5m2),
    "quantised": of_one,
    "quantised by channel": by_channel,
    "sparse": lambda v: v.to_sparse(),
    "sparse by rows": lambda v: v.flatten(1).to_sparse_csr(),
    "every second": non_contiguous,
    "expanded": lambda v: v.flatten()[:1].expand(v.numel()).view(v.shape),
    "a parameter": nn.Parameter,
    "a parameter's class": Trained,
    "a tensor's class": lambda v: v.as_subclass(Subclass),
    "negated": lambda v: torch._neg_view(v),
    "channels_last": lambda v: v.to(memory_format=torch.channels_last),
}
"""The same weight of another kind."""


@pytest.mark.parametrize("kind", PLAIN)
def test_values_are_those_that_pytorch_says(kind: str, tmp_path: Path) -> None:
    value = PLAIN[kind](STATE[ONLY])
    expected = value.dequantize() if value.is_quantized else value.detach()
    expected = expected.to_dense() if expected.layout is not torch.strided else expected
    expected = expected.as_subclass(Tensor).float().reshape(STATE[ONLY].shape)
    for new in (True, False):
        content = {**STATE, ONLY: value}
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        if kind == "sparse by rows":  # it has another shape
            with pytest.raises(WeightsError, match=r"1 of another shape: conv1.weight"):
                load_weights(drawn(), tmp_path / "w.pth")
            continue
        own = drawn()
        load_weights(own, tmp_path / "w.pth")
        assert torch.equal(own.conv1.weight, expected)
        convert(tmp_path / "w.pth", tmp_path / "w.pkl", "detectron2", overwrite=True)
        load_weights(own, tmp_path / "w.pkl")
        assert torch.equal(own.conv1.weight, expected)


REFUSED = {
    "complex": (lambda v: v.to(torch.complex64), "1 not floating point: conv1.weight"),
    "integers": (lambda v: v.int(), "1 not floating point"),
    "truth": (lambda v: v > 0, "1 not floating point"),
    "NaN": (lambda v: v * torch.nan, "1 with NaN or infinity: conv1.weight"),
    "float8 with NaN": (
        lambda v: (v * torch.nan).to(torch.float8_e4m3fn),
        "1 with NaN or infinity",
    ),
    "meta": (lambda v: v.to("meta"), r"conv1.weight \(a tensor without values\)"),
    "nested": (lambda v: torch.nested.nested_tensor([v, v]), r"\(a nested tensor\)"),
    "of nothing": (lambda _: torch.empty(0, 3, 7, 7), "holds no ResNeXt"),
    "lazy": (lambda _: nn.UninitializedParameter(), r"conv1.weight \(torch.nn.parameter.Uninit"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_plain_values_is_refused(kind: str, tmp_path: Path) -> None:
    change, message = REFUSED[kind]
    torch.save({**STATE, ONLY: change(STATE[ONLY])}, tmp_path / "w.pth")
    own = drawn()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_weights(own, tmp_path / "w.pth")
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


def test_parts_of_tensors_that_processes_share(tmp_path: Path) -> None:
    """FSDP2 saves these; one process has them whole."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        source = small(channels_last=False)
        fully_shard(source, mesh=distributed.init_device_mesh("cpu", (1,)))
        state = source.state_dict()
        assert type(state[ONLY]).__name__ == "DTensor"
        torch.save(state, tmp_path / "w.pth")
        state[ONLY]._local_tensor = state[ONLY]._local_tensor[:8]
        torch.save(state, tmp_path / "part.pth")
    finally:
        distributed.destroy_process_group()
    own = drawn()
    load_weights(own, tmp_path / "w.pth")
    assert all(torch.equal(value, STATE[key]) for key, value in own.state_dict().items())
    with pytest.raises(WeightsError, match=r"1 of a kind .* conv1.weight \(.*DTensor\)"):
        load_weights(own, tmp_path / "part.pth")


def test_tensors_that_share_memory_are_as_they_were(tmp_path: Path) -> None:
    whole = torch.arange(6000.0).reshape(1000, 6)
    content = {"whole": whole, "part": whole[1:3, ::2], "again": whole, "empty": whole[:0]}
    for new in (True, False):
        torch.save(content, tmp_path / "w", _use_new_zipfile_serialization=new)
        found = read_file(tmp_path / "w")
        assert all(torch.equal(found[key], value) for key, value in content.items())
        torch.save(dict(found), tmp_path / "again", _use_new_zipfile_serialization=new)
        assert (tmp_path / "again").stat().st_size <= (tmp_path / "w").stat().st_size + 1024


class Kind(enum.Enum):
    A = 1


@dataclass
class Settings:
    lr: float = 0.1

    class Inner:
        """Has a name within a name."""


class Attributes(dict):
    """Is what Lightning and MMEngine keep settings in."""


class Order(collections.OrderedDict):
    """A state dict of a class of its own."""


OBJECTS: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, path=Path("/data")),
    "simple namespace": types.SimpleNamespace(a=1),
    "path": pathlib.PureWindowsPath("c:/x"),
    "enum": Kind.A,
    "nested class": Settings.Inner(),
    "dataclass": Settings(),
    "attributes": Attributes(a={"b": 1}),
    "config": yacs.config.CfgNode({"MODEL": {"DEPTH": 50}}),
    "partial": functools.partial(print, 1),
    "default": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1]),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "set": {1, "a"},
    "frozen": frozenset({(1, 2)}),
    "type": int,
    "function": len,
    "dtype": torch.float16,
    "device": torch.device("cuda:1"),
    "size": torch.Size([1, 2]),
    "generator": torch.get_rng_state(),
    "scalar": np.float32(2),
    "text array": np.array(["a", "b"]),
    "object array": np.array([None, {}], dtype=object),
    "time array": np.array("2024-01-01", dtype="datetime64"),
    "numpy's state": np.random.default_rng(0),
    "slice": slice(1, 2),
    "complex": 1 + 2j,
    "bytes": bytearray(b"abc"),
    "large": 10**30,
    "error": ValueError("x"),
    "signal": importlib.import_module("signal").SIGTERM,
    "keys of all kinds": {(1, (2, 3)): 1, None: 2, Kind.A: 3, 4.5: 4, b"x": 5},
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("new", [True, False])
def test_objects_of_training_programs_are_read_past(
    new: bool, protocol: int, tmp_path: Path
) -> None:
    content = {"state_dict": Order(STATE), "optimizer": {"state": {0: {"step": 3}}}, **OBJECTS}
    torch.save(
        content, tmp_path / "w", pickle_protocol=protocol, _use_new_zipfile_serialization=new
    )
    modules = set(sys.modules)
    found = read_file(tmp_path / "w")
    assert set(sys.modules) == modules
    assert (found["large"], found["scalar"], found["size"]) == (10**30, 2.0, (1, 2))
    assert isinstance(found["namespace"], Inert)
    own = drawn()
    loaded = load_weights(own, tmp_path / "w")
    assert all(torch.equal(value, STATE[key]) for key, value in own.state_dict().items())
    assert (loaded.prefix, loaded.unused) == ("state_dict.", ())
    beside = {key: value for key, value in OBJECTS.items() if not isinstance(value, torch.Tensor)}
    torch.save(Order(STATE) | beside, tmp_path / "w", pickle_protocol=protocol)
    assert load_weights(drawn(), tmp_path / "w").prefix == ""


def test_objects_by_any_name_are_inert(tmp_path: Path) -> None:
    """Also where no module, or a module that does something when it is imported, has the name."""
    (tmp_path / "surprise.py").write_text(f"open({str(tmp_path / hostile.MARK)!r}, 'w')")
    calls = [
        crafted.Calls("surprise.Box", 1, {"a": 2}),
        crafted.Calls("no.such.module.Box"),
        crafted.Calls("torch.ones", 10**6, 10**6),
        crafted.Calls("antigravity.geohash", 1),
    ]
    content = {"model": {key: value.numpy() for key, value in STATE.items()}, "more": calls}
    (tmp_path / "w.pkl").write_bytes(crafted.pickled(content, 4))
    sys.path.insert(0, str(tmp_path))
    try:
        load_weights(drawn(), tmp_path / "w.pkl")
    finally:
        sys.path.remove(str(tmp_path))
    assert not (tmp_path / hostile.MARK).exists()
    assert "surprise" not in sys.modules


OTHERS = {
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "a page": (b"\n<!DOCTYPE html>", "a page of the web"),
    "gzip": (b"\x1f\x8b\x08", "unpack it"),
    "HDF5": (b"\x89HDF\r\n", "Keras"),
    "an index of shards": (b'{"weight_map": {}}', "shards"),
    "npz": (hostile.npz(), r"\.npz"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_else_is_taken_for_weights_is_named(kind: str, tmp_path: Path) -> None:
    content, message = OTHERS[kind]
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"w\.pth: .*{message}"):
        load_weights(drawn(), tmp_path / "w.pth")


def test_a_folder_of_shards_says_how_it_becomes_one_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(WeightsError, match=r"has model.safetensors.index.json; .*max_shard_size"):
        load_weights(drawn(), tmp_path)
