"""The names of each family, against networks of that family."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers import drawn, quick, randomise, relative_error, small
from torch import nn

from benchmarks.contestants import CONTESTANTS
from resnext_backbones import (
    ResNeXtClassifier,
    build_backbone,
    build_classifier,
    list_variants,
    load_weights,
)
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.load import load_state

VARIANT = "resnext50_32x4d"
DEEP = {"stem": "deep", "shortcut": "pooled"}


def images() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def mmdetection(**options: Any) -> nn.Module:
    backbones = pytest.importorskip("mmdet.models.backbones")
    return backbones.ResNeXt(depth=50, groups=32, base_width=4, **options)


def detectron2() -> nn.Module:
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    return CONTESTANTS["detectron2"].trunk(VARIANT).model


def torchvision_body() -> nn.Module:
    return torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name=VARIANT, weights=None
    )


TRUNKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "mmdetection": (mmdetection, {}, "torchvision"),
    "mmdetection, deep stem": (
        lambda: mmdetection(deep_stem=True, avg_down=True),
        {"stem": "deep", "shortcut": "pooled"},
        "mmdet",
    ),
    "detectron2": (detectron2, {}, "detectron2"),
}
"""A peer's trunk, the options of ours that make the same network, and the family of its names."""


def maps(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, dict) else list(outputs)


@pytest.mark.parametrize("name", TRUNKS)
def test_feature_maps_from_a_peers_weights(name: str, tmp_path: Path) -> None:
    build, options, family = TRUNKS[name]
    peer = randomise(build())
    peer.eval()  # MMDetection's gives nothing back
    torch.save({"state_dict": peer.state_dict()}, tmp_path / "weights.pth")
    own = build_backbone(VARIANT, **options).eval()
    loaded = load_weights(own, tmp_path / "weights.pth")
    network = "resnext50d_32x4d" if options else VARIANT
    assert (loaded.family, loaded.variant, loaded.unused) == (family, network, ())
    with torch.no_grad():
        for a, b in zip(own(images()), maps(peer(images())), strict=True):
            assert relative_error(a, b) <= 1e-5


@pytest.mark.parametrize(
    ("peer", "options", "family"),
    [
        (torchvision.models.resnext50_32x4d, {}, "torchvision"),
        (lambda: timm.create_model("resnext50_32x4d"), {}, "torchvision"),
        (lambda: timm.create_model("resnext50d_32x4d"), DEEP, "timm"),
    ],
)
def test_logits_from_a_peers_weights(peer, options: dict, family: str, tmp_path: Path) -> None:
    model = randomise(peer()).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    own = build_classifier(VARIANT, **options).eval()
    assert load_weights(own, tmp_path / "weights.pth").family == family
    with torch.no_grad():
        assert relative_error(own(images()), model(images())) <= 1e-5


def test_the_trunk_of_a_torchvision_detector(tmp_path: Path) -> None:
    peer = randomise(torchvision_body())
    torch.save({f"backbone.{k}": v for k, v in peer.state_dict().items()}, tmp_path / "w")
    own = build_backbone(VARIANT, norm="FrozenBN")
    loaded = load_weights(own, tmp_path / "w")
    assert all(key.startswith("backbone.fpn.") for key in loaded.unused)
    state = own.state_dict()
    assert all(torch.equal(state[k], v) for k, v in peer.body.state_dict().items())


def test_the_trunk_of_a_detectron2_detector_as_its_zoo_has_it(tmp_path: Path) -> None:
    """A pickle of arrays, in which the trunk is called `backbone.bottom_up`."""
    peer = randomise(detectron2()).eval()
    arrays = {f"backbone.bottom_up.{k}": v.numpy() for k, v in peer.state_dict().items()}
    arrays["roi_heads.box_head.fc1.weight"] = np.ones((2, 2), "f4")
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content))
    own = build_backbone(VARIANT).eval()
    loaded = load_weights(own, tmp_path / "model_final.pkl")
    assert loaded.unused == ("roi_heads.box_head.fc1.weight",)
    with torch.no_grad():
        for a, b in zip(own(images()), maps(peer(images())), strict=True):
            assert relative_error(a, b) <= 1e-5


PEERS = {"torchvision": True, "timm": True, "mmdetection": False, "detectron2": False}
"""By the name of a contestant, and whether it has a head."""

HUGE = ("resnext101_32x32d", "resnext101_32x48d")
"""Half a billion parameters and more."""

NOT_BUILT = [(f"wide_resnet{depth}_2", "mmdetection") for depth in (50, 101)]
"""MMDetection's has a base width only where it has groups."""


@pytest.mark.parametrize("name", quick(list_variants(), [VARIANT, "resnext101_32x8d"]))
@pytest.mark.parametrize("peer", PEERS)
def test_outputs_of_every_variant(name: str, peer: str) -> None:
    contestant = CONTESTANTS[peer]
    if not contestant.is_installed():
        pytest.skip(f"{peer} is not installed")
    if not contestant.builds(name) or (name, peer) in NOT_BUILT:
        pytest.skip(f"{peer} has no {name}")
    if peer == "timm" and not CONTESTANTS["torchvision"].builds(name):
        pytest.skip(f"{name} is compared with timm's own model in test_timm.py")
    if name in HUGE and peer != "torchvision":
        pytest.skip(f"{name} is published by torchvision's names alone")
    with torch.device("meta"):
        build = contestant.classifier if PEERS[peer] else contestant.trunk
        theirs = build(name)
        own = (build_classifier if PEERS[peer] else build_backbone)(name)
    randomise(theirs).eval()
    own = own.to_empty(device="cpu").eval()
    load_state(own, theirs.state_dict(), peer)
    with torch.no_grad():
        for a, b in zip(maps(own(images())), maps(theirs(images())), strict=True):
            assert relative_error(a, b) <= 1e-5


def test_norms_without_statistics_are_incomplete_in_other_families(tmp_path: Path) -> None:
    state = build_backbone(VARIANT).state_dict()
    torch.save({k: v for k, v in state.items() if "running" not in k}, tmp_path / "w")
    with pytest.raises(WeightsError, match=r"106 missing: bn1.running_mean"):
        load_weights(build_backbone(VARIANT), tmp_path / "w")


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_detectron2s_norms(norm: str) -> None:
    """It calls those of groups like those of batches."""
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.config import get_cfg
    from detectron2.modeling import build_backbone as detectron2_backbone

    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    options = {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4, "STRIDE_IN_1X1": False}
    options |= {"NORM": norm, "OUT_FEATURES": ["res2", "res3", "res4", "res5"]}
    for key, value in options.items():
        cfg.MODEL.RESNETS[key] = value
    peer = randomise(detectron2_backbone(cfg)).eval()
    own = build_backbone(VARIANT, norm=norm).eval()
    load_state(own, {f"backbone.bottom_up.{k}": v for k, v in peer.state_dict().items()}, "it")
    with torch.no_grad():
        for a, b in zip(own(images()), maps(peer(images())), strict=True):
            assert relative_error(a, b) <= 1e-5
    back = {FORMATS["detectron2"].from_own(key): value for key, value in own.state_dict().items()}
    assert all(torch.equal(back[key], value) for key, value in peer.state_dict().items())


@pytest.mark.parametrize("stem", ["7x7", "deep"])
def test_mmpretrain(stem: str, tmp_path: Path) -> None:
    source = randomise(build_classifier(VARIANT, stem=stem))
    format_ = FORMATS["mmpretrain"]
    state = {format_.from_own(key): value for key, value in source.state_dict().items()}
    assert ("backbone.stem.2.bn.running_var" in state) == (stem == "deep")
    assert {"backbone.layer4.2.bn3.bias", "head.fc.weight"} <= state.keys()
    torch.save({"meta": {"version": "1"}, "state_dict": state}, tmp_path / "w")
    own = build_classifier(VARIANT, stem=stem)
    loaded = load_weights(own, tmp_path / "w")
    assert loaded.family == "mmpretrain"
    assert all(torch.equal(own.state_dict()[k], v) for k, v in source.state_dict().items())


@pytest.mark.parametrize("norm", ["bn", "norm"])
def test_glasses(norm: str, tmp_path: Path) -> None:
    """It has called the norms behind convolutions by two names, in a pickle of its own name."""
    source = small(ResNeXtClassifier)
    state = {}
    for key, value in source.state_dict().items():
        theirs = FORMATS["glasses"].from_own(key)
        for place in (".block.", ".stem."):
            theirs = theirs.replace(".bn.", f".{norm}.") if place in theirs else theirs
        state[theirs] = value
    parts = ("stem.0.conv", f"stem.0.{norm}", "layers.2.1.block.2.conv", "layers.1.0.shortcut.bn")
    assert {f"encoder.{part}.weight" for part in parts} | {"head.fc.bias"} <= state.keys()
    torch.save(state, tmp_path / "pytorch_model.bin")
    own = drawn(ResNeXtClassifier)
    assert load_weights(own, tmp_path / "pytorch_model.bin").family == "glasses"
    assert all(torch.equal(own.state_dict()[k], v) for k, v in source.state_dict().items())


def test_mmpretrains_squeeze_and_excitation() -> None:
    """Its classifier calls it so; a trunk alone is known by it."""
    source = small(attention="SE")
    state = {FORMATS["mmpretrain"].from_own(k): v for k, v in source.state_dict().items()}
    shape = state["backbone.layer2.0.se_layer.conv1.conv.weight"].shape
    assert shape == (8, 128, 1, 1)
    assert "backbone.layer4.0.se_layer.conv2.conv.bias" in state
    own = drawn(attention="SE")
    assert load_state(own, state, "it").family == "mmpretrain"
    assert all(torch.equal(own.state_dict()[k], v) for k, v in source.state_dict().items())


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_taken_where_there_are_some(wrapper: str, tmp_path: Path) -> None:
    raw, averaged = (randomise(drawn(), seed) for seed in (0, 1))
    content = {
        "state_dict": raw.state_dict(),
        wrapper: {f"module.{k}": v for k, v in averaged.state_dict().items()} | {"n_averaged": 3},
    }
    file = io.BytesIO()
    torch.save(content, file)
    (tmp_path / "w").write_bytes(file.getvalue())
    own = drawn()
    assert load_weights(own, tmp_path / "w").averaged
    assert all(torch.equal(v, averaged.state_dict()[k]) for k, v in own.state_dict().items())
