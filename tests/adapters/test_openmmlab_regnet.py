"""The adapter against MMDetection's own RegNet, option by option; see test_shipped.py too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import randomise, relative_error, shapes

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import resnext_backbones.adapters.openmmlab as openmmlab  # noqa: I001  before mmdet
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from shipped import on_meta, trained

from resnext_backbones import build_backbone
from resnext_backbones.adapters.openmmlab import ARCHS

OWN = "resnext_backbones.RegNet"
NUMBERS = {"w0": 24, "wa": 24.48, "wm": 2.54, "group_w": 16, "depth": 22, "bot_mul": 1.0}
SMALL = {"w0": 32, "wa": 20.0, "wm": 2.2, "group_w": 8, "depth": 12, "bot_mul": 1.0}


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


@pytest.mark.parametrize("arch", ARCHS)
def test_every_name_of_mmdetection(arch: str) -> None:
    peer, own = (on_meta({"type": kind, "arch": arch}) for kind in ("RegNet", OWN))
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    assert set(ARCHS) == type(peer).arch_settings.keys()


OPTIONS: list[dict[str, Any]] = [
    {"arch": NUMBERS, "norm_eval": True, "frozen_stages": 1},
    {"arch": {**SMALL, "bot_mul": 0.5}},
    {"arch": {**SMALL, "bot_mul": 0.25, "group_w": 4}, "style": "caffe"},
    {"arch": SMALL, "stem_channels": 24, "in_channels": 1, "avg_down": True},
    {"arch": SMALL, "strides": (2, 2, 2, 1), "dilations": (1, 1, 1, 2), "with_cp": True},
    {"arch": SMALL, "out_indices": (1, 3), "norm_cfg": {"type": "GN", "num_groups": 8}},
    {"arch": SMALL, "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False}}
    | {"stage_with_dcn": (False, True, True, True)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_as_mmdetection_option_by_option(options: dict[str, Any]) -> None:
    cfg = {"type": "RegNet", **options}
    peer, own = randomise(on_meta(cfg)), MODELS.build({**cfg, "type": OWN})
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    own.load_state_dict(peer.state_dict())
    images = torch.randn(2, options.get("in_channels", 3), 64, 96)
    for mode in (False, True):
        for model in (peer, own):
            model.train(mode)  # MMDetection's gives nothing back
        if mode:
            assert trained(own) == trained(peer)
        for value, reference in zip(own(images), peer(images), strict=True):
            assert relative_error(value, reference) <= 1e-5


def test_a_variant_in_place_of_numbers() -> None:
    own = MODELS.build({"type": OWN, "variant": "regnety_002", "out_indices": (0, 1)})
    plain = build_backbone("regnety_002", out_indices=(0, 1))
    assert shapes(own.state_dict()) == shapes(plain.state_dict())
    other = MODELS.build({"type": "resnext_backbones.ResNeXt", "variant": "regnety_002",
                          "num_stages": 2, "out_indices": (0, 1)})  # fmt: skip
    assert shapes(own.state_dict()) == shapes(other.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "arch or variant must be given"),
        ({"arch": "regnetx_3.2gf", "variant": "regnetx_032"}, "arch or variant must be given"),
        ({"arch": "regnetx_5gf"}, r"arch must be one of regnetx_400mf.*got 'regnetx_5gf'"),
        ({"arch": {"w0": 24}}, r"arch must have depth, w0, wa, wm, group_w, bot_mul"),
        ({"arch": {**NUMBERS, "wm": 1.0}}, r"^arch \{.*w_m must be above 1"),
        ({"arch": {**NUMBERS, "bot_mul": 0.3}}, r"^arch \{.*whole groups"),
        ({"arch": "regnetx_3.2gf", "deep_stem": True}, "deep_stem must be left out"),
        ({"arch": "regnetx_3.2gf", "base_channels": 64}, "base_channels must be left out"),
        ({"arch": "regnetx_3.2gf", "style": "tf"}, "style must be one of pytorch, caffe"),
        ({"arch": "regnetx_3.2gf", "frozen_stages": 5}, "frozen_stages"),
        ({"variant": "resnext50_32x4d"}, "variant must be a RegNet's"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        openmmlab.RegNet(**options)
