"""RegNets: their line of widths against that of four libraries, and their networks against theirs.

Values and names of a whole network are compared in tests/weights/test_regnet_formats.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from helpers import gradients, randomise, relative_error, shapes
from regnets import IN_TORCHVISION
from timm.models.regnet import model_cfgs
from torch import nn
from torchvision.models.regnet import BlockParams, RegNet

from resnext_backbones import (
    Architecture,
    ResNeXt,
    build_backbone,
    build_classifier,
    list_variants,
    load_weights,
)
from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.models.regnet import nearest, nine_tenths, regnet
from resnext_backbones.variants import VARIANTS, architecture_of, describe
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.identify import identify

REGNETS = [name for name in list_variants() if name.startswith("regnet")]

LINES = {
    **{n: (c.depth, c.w0, c.wa, c.wm, c.group_size) for n, c in model_cfgs.items() if n in REGNETS},
    "a narrow first stage": (8, 24, 60.0, 2.6, 64),
    "one stage": (3, 48, 0.0, 2.0, 16),
}
"""Depth, w_0, w_a, w_m and group width, in this order."""


def stages(found: Architecture) -> list[tuple[int, int, int, int]]:
    """Blocks, channels, bottleneck width and groups of each stage."""
    return [
        (blocks, found.out_channels(i), found.width(i), found.groups(i))
        for i, blocks in enumerate(found.blocks)
    ]


def line(name: str, **more: object) -> Architecture:
    depth, w_0, w_a, w_m, group_width = LINES[name]
    return regnet(depth=depth, w_0=w_0, w_a=w_a, w_m=w_m, group_width=group_width, **more)


def test_all_of_torchvision_and_of_timm_are_variants() -> None:
    in_torchvision = {name for name in torchvision.models.list_models() if "regnet" in name}
    assert set(IN_TORCHVISION.values()) == in_torchvision
    others = {"regnety_640", "regnety_2560", "regnety_040_sgn"}  # published nowhere, or not freely
    in_timm = set(timm.list_models("regnet[xy]_*"))
    assert in_timm - others == set(REGNETS)


CASES = [(name, bottleneck) for name in LINES for bottleneck in (1, 0.5, 0.25)]


def test_widths_are_those_of_torchvision() -> None:
    for name, bottleneck in CASES:
        depth, w_0, w_a, w_m, group_width = LINES[name]
        theirs = BlockParams.from_init_params(depth, w_0, w_a, w_m, group_width, bottleneck)
        inner = [round(width * bottleneck) for width in theirs.widths]
        groups = [width // group for width, group in zip(inner, theirs.group_widths, strict=True)]
        expected = list(zip(theirs.depths, theirs.widths, inner, groups, strict=True))
        assert stages(line(name, bottleneck=bottleneck, fit=nine_tenths)) == expected, name


def test_widths_are_those_of_mmdetection() -> None:
    backbones = pytest.importorskip("mmdet.models.backbones", reason="MMDetection is not installed")
    peer = object.__new__(backbones.RegNet)
    for name, bottleneck in CASES:
        depth, w_0, w_a, w_m, group_width = LINES[name]
        widths, count = peer.generate_regnet(w_0, w_a, w_m, depth)
        channels, blocks = peer.get_stages_from_blocks(widths)
        ratios, given = [bottleneck] * count, [group_width] * count
        channels, given = peer.adjust_width_group(channels, ratios, given)
        inner = [round(width * bottleneck) for width in channels]
        groups = [width // group for width, group in zip(inner, given, strict=True)]
        expected = list(zip(blocks, channels, inner, groups, strict=True))
        assert stages(line(name, bottleneck=bottleneck)) == expected, name


def test_halves_and_tenths() -> None:
    """Where the two rules of rounding differ."""
    assert (nearest(392, 16), nine_tenths(392, 16)) == (384, 400)
    assert (nearest(192, 56), nine_tenths(192, 56)) == (168, 224)


@pytest.mark.parametrize("name", REGNETS)
def test_tensors_are_those_of_timm_and_torchvision(name: str, monkeypatch) -> None:
    # Its builders compute widths with tensors, which need memory: without the networks first.
    monkeypatch.setattr(torchvision.models.regnet, "_regnet", lambda params, *_: params)
    numbers = {n: torchvision.models.get_model(n, weights=None) for n in in_torchvision(name)}
    with torch.device("meta"):
        own = shapes(build_classifier(name).state_dict())
        peers: list[tuple[str, nn.Module]] = [("timm-regnet", timm.create_model(name))]
        peers += [("torchvision-regnet", RegNet(params)) for params in numbers.values()]
    for family, peer in peers:
        named = {FORMATS[family].from_own(key): shape for key, shape in own.items()}
        assert named == shapes(peer.state_dict()), family


def in_torchvision(name: str) -> list[str]:
    return [IN_TORCHVISION[name]] if name in IN_TORCHVISION else []


@pytest.mark.parametrize("name", ["regnetx_032", "regnetx_080", "regnety_032"])
def test_the_first_stages_alone(name: str) -> None:
    for number in (1, 2, 3, 4):
        architecture = VARIANTS[name].of_stages(number)
        with torch.device("meta"):
            state = ResNeXt(architecture).state_dict()
        assert identify(state) == architecture
        assert name in describe(architecture).split(" or ")
        assert Architecture.from_metadata(architecture.to_metadata()) == architecture


@pytest.mark.parametrize("group", [16, 512])
@pytest.mark.parametrize("first", [64, 96, 128, 256])
def test_stages_that_double_are_a_regnets(first: int, group: int) -> None:
    """Behind its stem; CIFAR's networks double as well."""
    numbers = {"w_0": first, "w_a": 1.5 * first, "w_m": 2.0, "group_width": group}
    architecture = regnet(depth=3, **numbers)
    assert architecture.stage_channels is None
    cifar = Architecture(blocks=(1, 1, 1), cardinality=4, base_width=64, stem="3x3")
    for network in (architecture, cifar):
        with torch.device("meta"):
            state = ResNeXt(network).state_dict()
        assert identify(state) == network


def test_the_stem_and_the_first_stage_stride() -> None:
    own = ResNeXt(SMALL)
    assert (own.channels, own.strides) == ((16, 24, 56), (4, 8, 16))
    assert [m.shape[-2:] for m in own(torch.randn(1, 3, 65, 47))] == [(17, 12), (9, 6), (5, 3)]
    assert ResNeXt(SMALL, strides=(1, 2, 2)).strides == (2, 4, 8)


SMALL = Architecture(
    blocks=(1, 2, 1),
    cardinality=2,
    base_width=8,
    stage_channels=(16, 24, 56),
    stage_groups=(2, 3, 7),
    stem="3x3/2",
    stem_channels=16,
)


Y = replace(SMALL, attention="SE4", attention_after=2)


def test_options_are_those_of_any_trunk() -> None:
    """From the same weights, at an odd size: all ways of computing give the same."""
    own = randomise(ResNeXt(Y, norm_eval=True, frozen_stages=1))
    assert [block.attn.fc1.out_channels for block in own.blocks()] == [4, 4, 6, 6]
    assert not any(
        p.requires_grad for name in ("conv1", "layer1") for p in getattr(own, name).parameters()
    )
    images = torch.randn(2, 3, 33, 47, dtype=torch.float64)
    expected, wanted = own.double().train()(images), gradients(own, images)
    ways: list[dict[str, Any]] = [
        {"fold_norm": False},
        {"channels_last": False},
        *({"recompute": mode} for mode in ("inner", "block", "pair")),
    ]
    for options in ways:
        other = ResNeXt(Y, norm_eval=True, frozen_stages=1, **options).double()
        other.load_state_dict(own.state_dict())
        for found, reference in zip(other.train()(images), expected, strict=True):
            assert relative_error(found, reference) <= 1e-12, options
        for name, gradient in gradients(other, images).items():
            assert relative_error(gradient, wanted[name]) <= 1e-10, (options, name)
    for found, reference in zip(own.fuse()(images), own.eval()(images), strict=True):
        assert relative_error(found, reference) <= 1e-12


def test_the_hub_and_metadata_hold_it(tmp_path: Path) -> None:
    own = randomise(ResNeXt(Y))
    own.save_pretrained(tmp_path)
    again = ResNeXt.from_pretrained(tmp_path)
    assert again.architecture == Y
    assert all(torch.equal(again.state_dict()[k], v) for k, v in own.state_dict().items())
    assert load_weights(ResNeXt(Y), tmp_path).variant == describe(Y)


def test_adapters_take_the_variants() -> None:
    images = torch.randn(1, 3, 64, 96)
    own = randomise(build_backbone("regnety_002")).eval()
    fpn = resnext_fpn("regnety_002", weights=None)
    fpn.body.load_state_dict(own.state_dict())
    for found, expected in zip(fpn.eval().body(images).values(), own(images), strict=True):
        assert relative_error(found, expected) <= 1e-5
    assert [m.shape[-2:] for m in fpn(images).values()][:4] == [m.shape[-2:] for m in own(images)]


def test_detectron2s_adapter_takes_the_variants() -> None:
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from resnext_backbones.adapters.detectron2 import ResNeXtBackbone

    backbone = ResNeXtBackbone(variant="regnety_002", out_features=["stem", "res2", "res5"])
    told = {name: (s.channels, s.stride) for name, s in backbone.output_shape().items()}
    assert told == {"stem": (32, 2), "res2": (24, 4), "res5": (368, 32)}
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert {name: (m.shape[1], 64 // m.shape[2]) for name, m in maps.items()} == told
    with pytest.raises(ValueError, match=r"variant 'regnety_002'.*leave num_groups out"):
        ResNeXtBackbone(variant="regnety_002", num_groups=32)


def test_a_network_of_its_own_is_described() -> None:
    told = describe(SMALL)
    assert told.startswith("a 2x8d network of 1-2-1 blocks with ")
    assert "stage_channels=(16, 24, 56)" in told
    assert "stage_groups=(2, 3, 7)" in told
    assert "stem=3x3/2" in told
    narrow = describe(architecture_of("regnety_002", norm_kind="group"))
    assert narrow == "regnety_002 with norm_kind=group"


def test_values_that_say_nothing_are_left_out() -> None:
    """Two descriptions of one network are equal."""
    doubled = Architecture(stage_channels=(256, 512, 1024, 2048), stage_groups=(32,) * 4)
    assert doubled == VARIANTS["resnext50_32x4d"]
    slim = Architecture(stage_channels=[32, 64], blocks=(1, 1), cardinality=2, stem_channels=64)
    assert slim == Architecture(blocks=(1, 1), cardinality=2, base_channels=8, stem_channels=64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stage_channels": (24, 56)}, r"stage_channels must have one value for each of the 4"),
        ({"stage_channels": (24, 56, 152, 0)}, "stage_channels must be positive integers"),
        ({"stage_channels": (24, 56, 152, 368), "base_channels": 32}, "base_channels must be left"),
        ({"stage_groups": (2, 4, 8, 16)}, r"stage_groups must be 32, the cardinality, at first"),
        ({"stage_groups": (32, 64, 3, 4)}, r"stage 3 has whole groups.*\(32, 64, 3, 4\)"),
        ({"stage_channels": (256, 300, 512, 1024)}, "stage 2 has whole groups"),
    ],
)
def test_stages_that_cannot_be_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture(**fields)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"w_0": 30}, "w_0 must be a multiple of 8, got 30"),
        ({"w_a": -1.0}, "w_a must be at least 0"),
        ({"w_m": 1.0}, "w_m must be above 1"),
        ({"depth": 0}, "depth must be a positive integer"),
        ({"bottleneck": 0}, "bottleneck must be above 0"),
        ({"w_m": 1.2}, r"blocks must be of 1 to 4 stages"),
        ({"bottleneck": 0.3}, "whole groups"),
    ],
)
def test_numbers_that_make_no_line_are_named(numbers: dict[str, float], message: str) -> None:
    given = {"depth": 13, "w_0": 24, "w_a": 36.44, "w_m": 2.49, "group_width": 8}
    with pytest.raises(ValueError, match=message):
        regnet(**{**given, **numbers})


def test_a_name_settles_its_stages() -> None:
    with pytest.raises(ValueError, match="stage_channels cannot be given beside the variant"):
        architecture_of("regnetx_032", stage_channels=(1, 2, 3, 4))
    with pytest.raises(ValueError, match="base_channels must be left out"):
        architecture_of("regnetx_032", base_channels=32)
