"""Files of Torch7, against another reader, the package torchfile, and torchvision's network."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
import torch7
import torchfile
import torchvision
from helpers import randomise, relative_error

from resnext_backbones import build_backbone, build_classifier, load_weights
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.files import read_file

VARIANT = "resnext50_32x4d"


@pytest.fixture(scope="module")
def peer() -> torchvision.models.ResNet:
    return randomise(torchvision.models.resnext50_32x4d()).eval()


@pytest.mark.parametrize("name", ["torch.FloatTensor", "torch.CudaTensor"])
def test_logits_from_a_file_of_the_authors_code(name: str, peer, tmp_path: Path) -> None:
    (tmp_path / "model.t7").write_bytes(torch7.dump(torch7.network(peer, name)))
    own = build_classifier(VARIANT).eval()
    loaded = load_weights(own, tmp_path / "model.t7")
    assert (loaded.family, loaded.variant, loaded.unused) == ("torch7", VARIANT, ())
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert relative_error(own(images), peer(images)) <= 1e-5


def test_a_trunk_from_a_network_within_a_table(peer, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(torch7.dump({"model": torch7.network(peer), "epoch": 90}))
    own = build_backbone(VARIANT)
    assert load_weights(own, tmp_path / "w").unused == ("fc.bias", "fc.weight")
    theirs = peer.state_dict()
    assert all("num_batches" in k or torch.equal(v, theirs[k]) for k, v in own.state_dict().items())


def test_torchfile_reads_the_same_values(tmp_path: Path) -> None:
    """What the tests write is what another reader takes for a Torch7 file."""
    layer = randomise(torch.nn.Conv2d(8, 4, 3, groups=2, bias=False))
    (tmp_path / "w").write_bytes(torch7.dump(torch7.module("nn.Sequential", torch7.of(layer))))
    theirs = torchfile.load(tmp_path / "w")
    assert theirs.torch_typename() == b"nn.Sequential"
    ours = read_file(tmp_path / "w")
    assert list(ours) == ["0.weight"]
    assert ours["0.weight"].tolist() == theirs.modules[0].weight.tolist()
    assert ours["0.weight"].tolist() == layer.weight.tolist()


def test_strides_and_an_offset_within_the_storage(tmp_path: Path) -> None:
    claim = torch7.tensor(torch.arange(12.0), shape=(3, 2), strides=(1, 4), offset=2)
    (tmp_path / "w").write_bytes(torch7.dump({"a": torch7.Object("nn.Linear", {"weight": claim})}))
    expected = torch.arange(12.0).as_strided((3, 2), (1, 4), 2)
    assert torch.equal(read_file(tmp_path / "w")["a.weight"], expected)
    assert torchfile.load(tmp_path / "w")[b"a"].weight.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float64])
def test_values_of_all_kinds_beside_the_weights(kind: torch.dtype, tmp_path: Path) -> None:
    """Text, numbers, tables that hold one another, and what is shared: as torchfile reads them."""
    name = {torch.uint8: "Byte", torch.int64: "CudaLong", torch.float64: "CudaDouble"}[kind]
    weight = torch7.tensor(torch.arange(3).to(kind), f"torch.{name}Tensor")
    table = {"lr": 0.1, "epoch": 90, "on": True, "name": "x\0y", "no": None, 2: "two", 1.5: "half"}
    table |= {"list": [torch7.Object("nn.Linear", {"weight": weight}), {7: {"bias": weight}}]}
    table["itself"] = table
    (tmp_path / "w").write_bytes(torch7.dump(table))
    found = read_file(tmp_path / "w")
    assert list(found) == ["list.0.weight", "list.1.7.bias"]
    if kind != torch.int64:  # which torchfile has no reader for on GPUs
        theirs = torchfile.load(tmp_path / "w")
        assert theirs[b"itself"] is theirs
        expected = [theirs[b"list"][0].weight, theirs[b"list"][1][7][b"bias"]]
        assert [v.tolist() for v in found.values()] == [v.tolist() for v in expected]
    assert all(v.dtype == kind and v.tolist() == [0, 1, 2] for v in found.values())


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_functions_are_skipped(kind: int, tmp_path: Path) -> None:
    """One of Lua's, in each of the three ways that it was written in, between two tensors."""
    number = b"" if kind == 6 else torch7.integer(1000)
    closes_over = struct.pack("<3i", 3, 1001, 1) + torch7.dump(1) + torch7.dump("upvalue")
    function = torch7.integer(kind) + number + torch7.text("\x1bLJ code") + closes_over
    ones = torch.ones(2)
    (tmp_path / "w").write_bytes(torch7.dump({"weight": ones, "run": function, "bias": ones * 2}))
    found = read_file(tmp_path / "w")
    assert {key: value.tolist() for key, value in found.items()} == {
        "weight": [1.0, 1.0],
        "bias": [2.0, 2.0],
    }


def test_a_bias_that_does_something_is_unexpected(peer, tmp_path: Path) -> None:
    network = torch7.network(peer)
    convolution = network.fields["modules"][0]
    for value, unexpected in ((0.0, False), (1.0, True)):
        convolution.fields["bias"] = torch7.tensor(torch.full((64,), value))
        (tmp_path / "w").write_bytes(torch7.dump(network))
        if unexpected:
            with pytest.raises(WeightsError, match=r"names are Torch7's.*\n.*unexpected: 0.bias"):
                load_weights(build_classifier(VARIANT), tmp_path / "w")
        else:
            assert load_weights(build_classifier(VARIANT), tmp_path / "w").unused == ("0.bias",)
