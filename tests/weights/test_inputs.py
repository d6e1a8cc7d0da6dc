"""Weights for images of other channels, by timm's rule and by that of zeros."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import small
from torch import Tensor

from resnext_backbones import build_backbone, load_weights
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.inputs import adapted
from resnext_backbones.weights.write import write_state


def first(state: dict[str, Tensor]) -> Tensor:
    return state["conv1.weight" if "conv1.weight" in state else "stem.0.weight"]


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_repeating_is_timms_rule(channels: int, dtype: torch.dtype) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    weight = torch.randn(8, 3, 3, 3).to(dtype)
    found = first(
        adapted({"conv1.weight": weight}, Architecture(in_channels=channels), "repeat", "x")
    )
    expected = timm.models.adapt_input_conv(channels, weight.clone())
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("stem", ["7x7", "deep"])
@pytest.mark.parametrize(("how", "channels"), [("repeat", 1), ("repeat", 6), ("zeros", 5)])
def test_what_the_network_does_at_first(stem: str, how: str, channels: int, tmp_path: Path) -> None:
    """Grey images and repeated ones give what three channels did; zeros do not look at the rest."""
    source = small(stem=stem).eval()
    torch.save(source.state_dict(), tmp_path / "three.pth")
    network = small(stem=stem, in_channels=channels).eval()
    loaded = load_weights(network, tmp_path / "three.pth", adapt_input=how)
    assert loaded.input_channels == 3
    assert "adapted from images of 3 channels" in str(loaded)
    three = torch.randn(1, 3, 64, 64)
    if channels == 1:
        three = three[:, :1].repeat(1, 3, 1, 1)
    images = {
        1: three[:, :1],
        6: three.repeat(1, 2, 1, 1),
        5: torch.cat((three, torch.randn(1, 2, 64, 64)), 1),
    }[channels]
    with torch.no_grad():
        for found, expected in zip(network(images), source(three), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_without_the_option_the_message_names_it(tmp_path: Path) -> None:
    path = tmp_path / "three.safetensors"
    write_state(small().state_dict(), path, "safetensors", {})
    network = small(in_channels=4)
    before = first(network.state_dict()).clone()
    with pytest.raises(WeightsError, match="adapt_input='repeat' or adapt_input='zeros'") as raised:
        load_weights(network, path)
    assert "It is for images of 3 channels, and the network for 4" in str(raised.value)
    assert torch.equal(first(network.state_dict()), before)
    with pytest.raises(WeightsError, match="adapt_input='zeros' would leave out 2"):
        load_weights(small(in_channels=1), path, adapt_input="zeros")
    with pytest.raises(ValueError, match="adapt_input must be one of repeat, zeros"):
        load_weights(network, path, adapt_input="timm")
    same = load_weights(small(), path, adapt_input="repeat")
    assert same.input_channels == 0


@pytest.mark.parametrize("how", ["repeat", "zeros"])
def test_standardised_convolutions_take_no_other_channels(how: str, tmp_path: Path) -> None:
    """They undo the scale of what is repeated, and give zeros the mean."""
    torch.save(small(convolution="standardised").state_dict(), tmp_path / "w.pth")
    network = small(convolution="standardised", in_channels=6)
    before = first(network.state_dict()).clone()
    with pytest.raises(WeightsError, match=f"adapt_input='{how}' cannot .* are standardised, and"):
        load_weights(network, tmp_path / "w.pth", adapt_input=how)
    assert torch.equal(first(network.state_dict()), before)
    load_weights(small(convolution="standardised"), tmp_path / "w.pth", adapt_input=how)


def test_doors_take_the_option(tmp_path: Path) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    from resnext_backbones.adapters.openmmlab import RegNet
    from resnext_backbones.adapters.torchvision import resnext_fpn

    path, name = tmp_path / "three.pth", "regnetx_002"
    weight = build_backbone(name).state_dict()
    torch.save(weight, path)
    expected = first(adapted(weight, Architecture(in_channels=4), "repeat", path))
    options = {"weights": path, "in_channels": 4, "adapt_input": "repeat"}
    init_cfg = {"type": "Pretrained", "checkpoint": str(path), "adapt_input": "repeat"}
    of_config = RegNet(variant=name, in_channels=4, init_cfg=init_cfg)
    of_config.init_weights()
    for trunk in (build_backbone(name, **options), resnext_fpn(name, **options).body, of_config):
        assert torch.equal(first(trunk.state_dict()), expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_config_of_detectron2s_takes_it(channels: int, tmp_path: Path) -> None:
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.modeling import build_backbone as build
    from detectron2_pairs import small as of_yaml

    from resnext_backbones.adapters.detectron2 import add_resnext_config

    path = tmp_path / "three.pth"
    cfg = of_yaml("MODEL.PIXEL_MEAN", [100.0] * channels, "MODEL.PIXEL_STD", [50.0] * channels)
    add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.update(NAME="build_resnext_backbone", WEIGHTS=str(path))
    three = cfg.clone()
    three.MODEL.PIXEL_MEAN, three.MODEL.BACKBONE.WEIGHTS = [100.0] * 3, ""
    state = build(three).trunk.state_dict()
    torch.save(state, path)
    with pytest.raises(WeightsError, match="adapt_input='repeat' or adapt_input='zeros'"):
        build(cfg)
    cfg.MODEL.BACKBONE.ADAPT_INPUT = "repeat"
    found = build(cfg)
    assert torch.equal(
        first(found.trunk.state_dict()), first(adapted(state, channels, "repeat", path))
    )
    assert found.loaded_weights.input_channels == 3
