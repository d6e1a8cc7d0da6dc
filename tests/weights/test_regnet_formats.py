"""RegNets of torchvision, MMDetection, Detectron2 and pycls; timm's are in test_timm.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers import quick, randomise, relative_error
from regnets import IN_TORCHVISION
from torch import Tensor, nn

from resnext_backbones import ResNeXt, build_backbone, build_classifier, load_weights
from resnext_backbones.models.regnet import regnet
from resnext_backbones.variants import architecture_of
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.load import load_state
from resnext_backbones.weights.write import convert

SIZE = (65, 96)


def images() -> Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def outputs(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    return list(found.values()) if isinstance(found, dict) else list(found)


def is_the_same(own: ResNeXt, peer: nn.Module) -> None:
    with torch.no_grad():
        for ours, theirs in zip(
            outputs(own.eval()(images())), outputs(peer.eval()(images())), strict=True
        ):
            assert relative_error(ours, theirs) <= 1e-5


def comes_back(own: ResNeXt, to: str, state: dict[str, Tensor], folder: Path) -> Any:
    """Writes a network for a target, and compares every tensor with those that it came from."""
    own.save_pretrained(folder / "saved")
    convert(folder / "saved", folder / "file", to)
    written = torch.load(folder / "file", weights_only=True)
    written = written.get("state_dict", written)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    "name", quick(IN_TORCHVISION, ["regnetx_004_tv", "regnety_004", "regnety_008_tv"])
)
def test_torchvision(name: str, tmp_path: Path) -> None:
    if name == "regnety_1280":
        pytest.skip("two thirds of a billion parameters: their shapes are compared elsewhere")
    peer = randomise(torchvision.models.get_model(IN_TORCHVISION[name], weights=None))
    own = build_classifier(name)
    loaded = load_state(own, peer.state_dict(), "it")
    assert (loaded.family, loaded.variant) == ("torchvision-regnet", name)
    is_the_same(own, peer)
    comes_back(own, "torchvision", peer.state_dict(), tmp_path)


def test_torchvisions_trunk_as_its_detectors_cut_it() -> None:
    """Behind a prefix, and without a head."""
    peer = randomise(torchvision.models.regnet_x_400mf(weights=None))
    state = {f"backbone.{k}": v for k, v in peer.state_dict().items() if not k.startswith("fc.")}
    loaded = load_state(build_backbone("regnetx_004_tv"), {"model": state}, "it")
    assert (loaded.family, loaded.prefix) == ("torchvision-regnet", "model.backbone.")


@pytest.mark.parametrize(("arch", "name"), [("regnetx_400mf", "regnetx_004")])
def test_mmdetection(arch: str, name: str, tmp_path: Path) -> None:
    backbones = pytest.importorskip("mmdet.models.backbones", reason="MMDetection is not installed")
    peer = randomise(backbones.RegNet(arch))
    peer.eval()  # MMDetection's gives nothing back
    own = build_backbone(name)
    assert load_state(own, peer.state_dict(), "it").variant == name
    with torch.no_grad():
        for ours, theirs in zip(own.eval()(images()), peer(images()), strict=True):
            assert relative_error(ours, theirs) <= 1e-5
    comes_back(own, "mmdet", peer.state_dict(), tmp_path)


def detectron2(ratio: float, depth: int, w_0: int, w_a: float, w_m: float, group: int) -> nn.Module:
    module = pytest.importorskip(
        "detectron2.modeling.backbone.regnet", reason="Detectron2 is not installed"
    )
    return module.RegNet(
        stem_class=module.SimpleStem,
        stem_width=32,
        block_class=module.ResBottleneckBlock,
        depth=depth,
        w_0=w_0,
        w_a=w_a,
        w_m=w_m,
        group_width=group,
        se_ratio=ratio,
        out_features=["s1", "s2", "s3", "s4"],
    )


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("regnetx_004", lambda: detectron2(0, 22, 24, 24.48, 2.54, 16)),
        ("regnety_002", lambda: detectron2(0.25, 13, 24, 36.44, 2.49, 8)),
    ],
)
def test_detectron2(name: str, build: Callable[[], nn.Module]) -> None:
    peer = randomise(build())
    own = build_backbone(name)
    loaded = load_state(own, peer.state_dict(), "it")
    assert (loaded.family, loaded.variant) == ("pycls", name)
    is_the_same(own, peer)


def test_a_checkpoint_of_pycls(tmp_path: Path) -> None:
    """By names that MMDetection's converter reads, beside what it trained with."""
    own = randomise(build_classifier("regnety_002"))
    state = own.state_dict()
    theirs = {
        "stem.conv.weight": "conv1.weight",
        "stem.bn.running_var": "bn1.running_var",
        "s1.b1.f.a.weight": "layer1.0.conv1.weight",
        "s1.b1.f.b_bn.bias": "layer1.0.bn2.bias",
        "s3.b4.f.c.weight": "layer3.3.conv3.weight",
        "s4.b7.f.se.f_ex.0.bias": "layer4.6.attn.fc1.bias",
        "s4.b7.f.se.f_ex.2.weight": "layer4.6.attn.fc2.weight",
        "s2.b1.proj.weight": "layer2.0.downsample.0.weight",
        "s2.b1.bn.running_mean": "layer2.0.downsample.1.running_mean",
        "head.fc.weight": "fc.weight",
    }
    named = {FORMATS["pycls"].from_own(key): value for key, value in state.items()}
    assert all(named[key] is state[own_key] for key, own_key in theirs.items())
    content = {"epoch": 99, "model_state": named, "optimizer_state": {"state": {}}}
    torch.save(content, tmp_path / "RegNetY-200MF_dds_8gpu.pyth")
    loaded = load_weights(build_classifier("regnety_002"), tmp_path / "RegNetY-200MF_dds_8gpu.pyth")
    assert (loaded.family, loaded.variant, loaded.unused) == ("pycls", "regnety_002", ())


def test_the_line_makes_what_a_row_has() -> None:
    numbers = {"depth": 25, "w_0": 88, "w_a": 26.31, "w_m": 2.25, "group_width": 48}
    assert regnet(**numbers) == architecture_of("regnetx_032")
