"""Attention in the blocks, and what it takes to add one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import timm
import torch
from helpers import PARTS, SMALL, drawn, quick, randomise, relative_error, small
from timm.layers import create_attn
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import DropBlock2d, FrozenBatchNorm2d, StochasticDepth

from resnext_backbones import Architecture, ResNeXt, build_backbone, load_weights
from resnext_backbones.adapters.torchvision import deeplabv3, resnext_fpn
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts import norms
from resnext_backbones.models.parts.attention import ATTENTION
from resnext_backbones.models.parts.self_attention import BottleneckAttention
from resnext_backbones.models.recompute import attended
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.identify import identify, network_name


def test_squeeze_and_excitation_is_timms() -> None:
    peer = randomise(timm.create_model("seresnext50_32x4d", num_classes=0)).eval()
    own = ResNeXt(Architecture(attention="SE")).eval()
    own.load_state_dict(peer.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = peer.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
        for a, b in zip(own(images), expected, strict=True):
            assert relative_error(a, b) <= 1e-5


TIMM: dict[str, tuple[str, dict[str, int]]] = {
    "SE": ("se", {}),
    "SE4": ("se", {"rd_channels": 16}),
    "ECA": ("eca", {}),
    "GC": ("gca", {}),
    "BAT": ("bat", {"block_size": 8}),
}
"""timm's name of each, and what it is told."""


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("kind", ATTENTION)
def test_every_gradient_is_that_of_timms_module(kind: str, mode: bool) -> None:
    """Also of what the backward pass computes again."""
    channels, size = 64, 16
    layers = Layers(partial(nn.Conv2d, bias=False), norms.Norms("BN", 64), nn.ReLU, True)
    own = ATTENTION[kind](channels, layers, channels)
    name, told = TIMM[kind]
    peer = create_attn(name, channels, **told)
    peer.load_state_dict(randomise(own).state_dict())
    x = torch.randn(2, channels, size, 2 * size, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(x)
    found = []
    for module, run in ((own, attended), (own, nn.Module.__call__), (peer, nn.Module.__call__)):
        module.double().train(mode)
        torch.manual_seed(0)  # of what is dropped
        y = run(module, x)
        found.append((y, *torch.autograd.grad(y, [x, *module.parameters()], upstream)))
    assert [p.shape for p in own.parameters()] == [p.shape for p in peer.parameters()]
    *both, expected = found
    assert all(e.any() for e in expected)
    for values in both:
        for a, b in zip(values, expected, strict=True):
            assert (a - b).abs().max() <= 1e-10 * max(b.abs().max(), 1)


class Noisy(nn.Module):
    """Somebody's own, which counts its calls, and draws at random without a module that says so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.Conv2d(channels, channels, 1)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * (self.norm(x) + torch.rand_like(x)).sigmoid()


def test_somebodys_own_attention_is_called_once() -> None:
    """Also behind one of PyTorch's, and so is one whose weights are computed for each call; what
    draws at random by PyTorch's or torchvision's modules repeats its draws.
    """
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    own = Noisy(4).double()
    spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)).double()
    drawing = (nn.Dropout(), DropBlock2d(0.3, 3), StochasticDepth(0.5, "row"), nn.RReLU())
    of_pytorch = (nn.Sequential(nn.Conv2d(4, 4, 1), each).double() for each in drawing)
    always = nn.Sequential(nn.Conv2d(4, 4, 1), nn.FractionalMaxPool2d(2, 4)).double().eval()
    for module in (own, nn.Sequential(own), spectral, always, *of_pytorch):
        found, begun = [], {name: value.clone() for name, value in module.state_dict().items()}
        for run in (attended, nn.Module.__call__):
            torch.manual_seed(0)
            module.load_state_dict(begun)
            y = run(module, x)
            (gradient,) = torch.autograd.grad(y.square().sum(), x)
            found.append((y, gradient, *(buffer.clone() for buffer in module.buffers())))
        for a, b in zip(*found, strict=True):
            assert torch.equal(a, b)
    assert own.calls == 4


class Gain(nn.Module):
    """An attention of a weight for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain.sigmoid()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A variant with an attention, each of which is a row of its table; or with another part."""
    if request.param in PARTS:
        monkeypatch.setitem(VARIANTS, "made_up", replace(SMALL, **PARTS[request.param]))
        return "made_up"
    monkeypatch.setitem(ATTENTION, "Gain", lambda channels, *_: Gain(channels))
    row = replace(
        SMALL,
        stem="deep",
        shortcut="pooled",
        activation="SiLU",
        attention="Gain",
        attention_after=2,
    )
    monkeypatch.setitem(VARIANTS, "made_up", row)
    return "made_up"


def plain(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    network = build_backbone(name, weights=file, frozen_stages=2, norm_eval=True)
    return network, network


def hub(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    network, _ = plain(name, file)
    with TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        network = ResNeXt.from_pretrained(folder)
    return network, network


def torchvision_fpn(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    network = resnext_fpn(name, weights=file, trainable_layers=2)
    return network, network.body


def torchvision_deeplabv3(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    network = deeplabv3(name, weights=file, frozen_stages=2, aux_classifier=True)
    return network, network.backbone


def mmengine(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    pytest.importorskip("mmcv", reason="mmcv is not installed")
    from resnext_backbones.adapters.registry import MODELS

    importlib.import_module("resnext_backbones.adapters.openmmlab")
    cfg = {"type": "resnext_backbones.ResNeXt", "variant": name, "frozen_stages": 2}
    if file:
        cfg["init_cfg"] = {"type": "Pretrained", "checkpoint": str(file)}
    network = MODELS.build(cfg)
    network.init_weights()
    return network, network


def detectron2(name: str, file: Path | None) -> tuple[nn.Module, ResNeXt]:
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.config import get_cfg
    from detectron2.modeling import build_backbone as build

    from resnext_backbones.adapters.detectron2 import add_resnext_config

    cfg = get_cfg()
    add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.update(NAME="build_resnext_backbone", FREEZE_AT=3, VARIANT=name)
    cfg.MODEL.BACKBONE.WEIGHTS = str(file or "")
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    network = build(cfg)
    return network, network.trunk


DOORS = {
    "build_backbone": plain,
    "the Hub": hub,
    "torchvision's FPN": torchvision_fpn,
    "torchvision's DeepLabV3": torchvision_deeplabv3,
    "MMEngine": mmengine,
    "Detectron2": detectron2,
}
"""Adapters: a network by the name of a variant and a file of its weights, with two stages frozen,
and the trunk in it."""


def maps(trunk: Callable[..., Any], images: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        found = trunk(images)
    return list(found.values()) if isinstance(found, dict) else list(found)


def same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(relative_error(a, b) <= 1e-5 for a, b in pairs)


class Norms(TorchDispatchMode):
    """Counts the norms that are computed on their own."""

    count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.count += "batch_norm" in str(operator)
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("made_up", quick(["Gain", *PARTS], ["Gain"]), indirect=True)
@pytest.mark.parametrize("door", DOORS)
def test_a_row_and_a_module_are_all_that_a_new_network_takes(
    door: str, made_up: str, tmp_path: Path
) -> None:
    source = randomise(build_backbone(made_up)).eval()
    state = source.state_dict()
    assert identify(state) == replace(VARIANTS[made_up], activation="ReLU")
    assert network_name(state) == made_up
    torch.save(state, tmp_path / "weights.pth")
    images = torch.randn(2, 3, 64, 96)

    network, trunk = DOORS[door](made_up, tmp_path / "weights.pth")
    assert trunk.architecture == VARIANTS[made_up]
    assert all(torch.equal(value, state[key]) for key, value in trunk.state_dict().items())
    another, _ = DOORS[door](made_up, None)
    incompatible = another.load_state_dict(network.state_dict())
    assert not incompatible.missing_keys + incompatible.unexpected_keys
    own, expected = maps(network.eval(), images), maps(another.eval(), images)
    assert same(own, expected)

    trained = {name.split(".")[0] for name, p in trunk.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    with Norms() as norms:
        found = maps(trunk, images)
    # Behind self-attention there is no convolution.
    attend = [m for m in trunk.modules() if isinstance(m, BottleneckAttention)]
    left = sum(isinstance(m, nn.BatchNorm2d) for part in attend for m in part.modules())
    assert norms.count == left, "a norm with frozen statistics is folded"
    fused = trunk.fuse()
    assert not any(isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d) for m in fused.modules())
    assert same(maps(fused, images), found)
    exported = torch.export.export(network, (images,)).module()
    assert same(maps(exported, images), own)
    if "DeepLab" not in door:  # whose last stages do not stride
        assert same(found, maps(source, images))


def test_weights_without_the_attention_do_not_load(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"layer1.0.se.fc1.bias"):
        load_weights(drawn(attention="SE"), tmp_path / "weights.pth")
    torch.save(small(attention="SE").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"(?s)holds .*attention=SE.*20 unexpected"):
        load_weights(drawn(), tmp_path / "weights.pth")


@pytest.mark.parametrize("after", [2, 3])
@pytest.mark.parametrize("kind", ATTENTION)
def test_it_keeps_the_memory_format(kind: str, after: int) -> None:
    model = small(attention=kind, attention_after=after).eval()
    seen = []
    for name, module in model.named_modules():
        if name.endswith((".attn", ".se")):
            module.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    model(torch.randn(2, 3, 64, 96))
    assert len(seen) == 5
    for pair in seen:
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in pair)
