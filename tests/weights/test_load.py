"""Weights load whole or not at all."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from helpers import drawn
from safetensors.torch import save_file
from torch import nn

from resnext_backbones import ResNeXtClassifier, build_backbone, load_weights
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.identify import network_name
from resnext_backbones.weights.load import check_fit
from resnext_backbones.weights.registry import REGISTRY


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def wrapped(state: dict, how: str) -> dict:
    extra = {"neck.weight": torch.ones(2), "roi_head.mask_head.convs.0.weight": torch.ones(1)}
    return {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state},
        "module.": {f"module.{k}": v for k, v in state.items()},
        "detector": {
            "meta": {"version": "1"},
            "state_dict": OrderedDict({**{f"backbone.{k}": v for k, v in state.items()}, **extra}),
        },
        "ddp detector": {f"module.backbone.{k}": v for k, v in state.items()},
    }[how]


@pytest.mark.parametrize(
    "how", ["plain", "state_dict", "model", "module.", "detector", "ddp detector"]
)
def test_weights_are_found_in_what_is_around_them(how: str, tmp_path: Path) -> None:
    source = drawn()
    torch.save(wrapped(source.state_dict(), how), tmp_path / "weights.pth")
    torch.manual_seed(1)
    model = drawn()
    loaded = load_weights(model, tmp_path / "weights.pth")
    assert same(model, source.state_dict())
    assert len(loaded.unused) == (2 if how == "detector" else 0)


def test_a_classifier_goes_into_a_trunk_and_into_a_classifier(tmp_path: Path) -> None:
    source = drawn(ResNeXtClassifier, num_classes=5)
    state = {name: tensor.contiguous() for name, tensor in source.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    model = drawn()
    loaded = load_weights(model, tmp_path / "weights.safetensors")
    assert same(model, source.state_dict())
    assert loaded.unused == ("fc.bias", "fc.weight")
    classifier = drawn(ResNeXtClassifier, num_classes=5)
    assert load_weights(classifier, tmp_path / "weights.safetensors").unused == ()
    assert same(classifier, source.state_dict())


def test_torchvision_file(tmp_path: Path) -> None:
    peer = torchvision.models.resnext50_32x4d()
    torch.save(peer.state_dict(), tmp_path / "weights.pth")
    model = build_backbone("resnext50_32x4d", out_indices=(1, 2))
    loaded = load_weights(model, tmp_path / "weights.pth")
    assert loaded.variant == "resnext50_32x4d"
    assert same(model, peer.state_dict())
    assert "layer4.0.conv1.weight" in loaded.unused


def test_counters_may_be_missing_or_left_over(tmp_path: Path) -> None:
    state = drawn().state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    torch.save(state, tmp_path / "new.pth")
    load_weights(drawn(), tmp_path / "old.pth")
    load_weights(drawn(norm="FrozenBN"), tmp_path / "new.pth")
    state = drawn(attention="BAT").state_dict()  # whose steps have norms of their own
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert network_name(old) == network_name(state)
    assert "attention=BAT" in network_name(old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.0.conv2.weight"), "1 missing: layer3.0.conv2.weight"),
        (lambda s: s.update({"layer3.0.se.weight": torch.ones(1)}), "1 unexpected: layer3.0.se"),
        (lambda s: s.update({"bn1.weight": torch.ones(3)}), r"1 of another shape: bn1.weight \(3,"),
    ],
)
def test_anything_else_changes_nothing(change, message: str, tmp_path: Path) -> None:
    state = drawn().state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    torch.manual_seed(1)
    model = drawn()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_weights(model, tmp_path / "weights.pth")
    assert same(model, before)


def test_another_variant_is_named(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = build_backbone("resnext101_32x8d").state_dict()
    torch.save({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in state.items()}, tmp_path / "w")
    with torch.device("meta"):
        model = build_backbone("resnext101_32x4d")
    with pytest.raises(WeightsError, match=r"holds resnext101_32x8d; .* is resnext101_32x4d"):
        load_weights(model, tmp_path / "w")


def test_a_network_without_memory_takes_nothing(tmp_path: Path) -> None:
    state = drawn().state_dict()
    torch.save(state, tmp_path / "w")
    torch.save({k: v for k, v in state.items() if "layer4" not in k}, tmp_path / "part")
    with pytest.raises(WeightsError, match=r"on the meta device, .* to_empty\(device=...\)"):
        load_weights(drawn().to("meta"), tmp_path / "w")
    check_fit(drawn().to("meta"), tmp_path / "w")
    with pytest.raises(WeightsError, match="missing: layer4"):
        check_fit(drawn().to("meta"), tmp_path / "part")


def test_what_is_no_trunk_is_named(tmp_path: Path) -> None:
    torch.save(drawn().state_dict(), tmp_path / "w")
    with pytest.raises(TypeError, match=r"must be a ResNeXt .*, got Sequential; of a detector"):
        load_weights(torch.nn.Sequential(drawn()), tmp_path / "w")


class Bomb:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": drawn().state_dict(), "x": Bomb(tmp_path / "ran")}, tmp_path / "w")
    with pytest.raises(WeightsError, match=r"system"):
        load_weights(drawn(), tmp_path / "w")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", bytes(8) + b"{"])
def test_a_file_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_weights(drawn(), path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(drawn().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_weights(drawn(), path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent.pth"):
        load_weights(drawn(), tmp_path / "absent.pth")


def test_folded_weights_of_before_are_not_used_again(tmp_path: Path) -> None:
    """Frozen stages keep theirs, and a load writes into the tensors that they came from."""
    frozen, source = drawn(frozen_stages=4, norm_eval=True), drawn().eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = frozen(images)
        load_weights(frozen, tmp_path / "weights.pth")
        for found, expected, old in zip(frozen(images), source(images), before, strict=True):
            assert torch.allclose(found, expected, atol=1e-5)
            assert not torch.allclose(found, old)


def test_what_no_tensor_shows_is_compared_whatever_the_file_says_it_in(tmp_path: Path) -> None:
    source = drawn(activation="SiLU")
    said = source.architecture.to_metadata()
    state = {key: value.contiguous() for key, value in source.state_dict().items()}
    save_file(state, tmp_path / "ours.safetensors", metadata=said)
    source.save_pretrained(tmp_path)
    torch.save({"meta": said, "state_dict": state}, tmp_path / "converted.pth")
    run = {f"network.{key}": value for key, value in state.items()}
    torch.save({"meta": {"facts": said}, "state_dict": run}, tmp_path / "epoch_1.pth")
    for name in ("ours.safetensors", "model.safetensors", "converted.pth", "epoch_1.pth"):
        with pytest.raises(WeightsError, match=rf"{name}: .*activation='SiLU'.*'ReLU'"):
            load_weights(drawn(), tmp_path / name)
        load_weights(drawn(activation="SiLU"), tmp_path / name)


def test_a_copy_of_a_published_file_is_known_by_its_name_and_hash(
    tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(drawn().state_dict(), path)
    row = replace(REGISTRY["torchvision/resnext50_32x4d.v2"], file=f"a-{hash_of(path)[:8]}.pth")
    monkeypatch.setitem(REGISTRY, row.alias, row)
    path = path.rename(tmp_path / row.file)
    with pytest.raises(WeightsError, match=r"stride_in_1x1=False.*another network"):
        load_weights(drawn(stride_in_1x1=True), path)
    assert load_weights(drawn(), path).licence == row.source.licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"layer1.0.conv3.weight": torch.ones(())}), "holds no ResNeXt"),
        (lambda s: s.update({"conv1.weight": torch.ones(3)}), "holds no ResNeXt"),
        (lambda s: s.update({"layer5.0.conv1.weight": torch.ones(1)}), "1 unexpected: layer5"),
        (lambda s: s.update({"layerscale.gamma": torch.ones(1)}), "1 unexpected: layerscale"),
        (lambda s: s.update({"layer1.0.se.conv.weight": torch.ones(1)}), "with another attention"),
    ],
)
def test_shapes_and_names_of_no_sense_end_in_one_message(change, message, tmp_path: Path) -> None:
    state = drawn().state_dict()
    state[3] = torch.ones(1)  # which is nobody's name
    change(state)
    torch.save(dict(state), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        load_weights(drawn(), tmp_path / "weights.pth")
