"""Files of Torch7, against the package that reads them and torchvision's network."""

from __future__ import annotations

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
from resnext_backbones.weights.torch7 import _library

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


def test_the_package_reads_the_same_values(tmp_path: Path) -> None:
    """What the tests write is what the package takes for a Torch7 file."""
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


def test_the_packages_own_handlers_stay_as_they_are() -> None:
    name = b"torch.FloatTensor"
    assert torchfile.type_handlers[name] is not _library().type_handlers[name]


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


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch) -> None:
    _library.cache_clear()
    monkeypatch.setattr("resnext_backbones.weights.torch7.find_spec", lambda _: None)
    (tmp_path / "w").write_bytes(torch7.dump({"a": 1}))
    with pytest.raises(WeightsError, match=r"torchfile.*pip install torchfile"):
        read_file(tmp_path / "w")
