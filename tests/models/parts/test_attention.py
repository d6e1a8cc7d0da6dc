"""Attention in the blocks, and what it takes to add one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from helpers import SMALL, drawn, randomise, relative_error, small
from torch import nn

from resnext_backbones import Architecture, ResNeXt, build_backbone, load_weights
from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.models.parts.attention import ATTENTION
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


class Gain(nn.Module):
    """An attention of a weight for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain.sigmoid()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> str:
    """A variant with an attention, each of which is a row of its table."""
    monkeypatch.setitem(ATTENTION, "Gain", Gain)
    row = replace(SMALL, stem="deep", activation="SiLU", attention="Gain", attention_after=2)
    monkeypatch.setitem(VARIANTS, "made_up", row)
    return "made_up"


def test_a_row_and_a_module_are_all_that_a_new_network_takes(made_up: str, tmp_path: Path) -> None:
    source = randomise(build_backbone(made_up)).eval()
    state = source.state_dict()
    assert identify(state) == replace(VARIANTS[made_up], activation="ReLU")
    assert network_name(state) == made_up
    torch.save(state, tmp_path / "weights.pth")
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = source(images)
    frozen = build_backbone(
        made_up, weights=tmp_path / "weights.pth", frozen_stages=2, norm_eval=True
    )
    trainable = {name.split(".")[0] for name, p in frozen.named_parameters() if p.requires_grad}
    assert trainable == {"layer3", "layer4"}
    exported = torch.export.export(source, (images,)).module()
    body = resnext_fpn(made_up, weights=tmp_path / "weights.pth").body.eval()
    for network in (frozen, source.fuse(), exported, lambda x: tuple(body(x).values())):
        with torch.no_grad():
            for a, b in zip(network(images), expected, strict=True):
                assert relative_error(a, b) <= 1e-5


def test_mmengines_adapter_builds_it(made_up: str) -> None:
    openmmlab = pytest.importorskip("resnext_backbones.adapters.openmmlab")
    own = openmmlab.ResNeXt(variant=made_up, norm_eval=False)
    assert own.architecture == VARIANTS[made_up]
    assert own.state_dict().keys() == build_backbone(made_up).state_dict().keys()


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
