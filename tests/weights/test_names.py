"""Names of tensors in each family, without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.contestants import CONTESTANTS
from resnext_backbones import build_backbone, build_classifier
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.find import trunks_in
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.regnet_formats import REGNET_FORMATS
from resnext_backbones.weights.templates import Template

PLAIN = {"stem": ("7x7", "3x3", "3x3/2")}
WHOLE: dict[str, tuple[Any, ...]] = {"spatial": ("",), "stage": ("plain",)}
BARE = {**PLAIN, **WHOLE, "shortcut": ("strided",), "attention": ("",)}
DEEP_ALONE = {"stem": ("deep", "tiered")}
NAMED: dict[str, dict[str, tuple[Any, ...]]] = {
    "torchvision": PLAIN,
    "timm": DEEP_ALONE,
    "mmdet": DEEP_ALONE,
    "sequential": PLAIN,
    "mmpretrain": {"stage": ("plain",)},
    "detectron2": {**PLAIN, "shortcut": ("strided",)},
    "caffe2": BARE,
    "torch7": BARE,
    "byobnet": {"stage_groups": ((2, 4, 8, 16), (4, 8, 16, 32))},
    "sk": {**PLAIN, "spatial": ("SK",)},
    "cspnet": {**PLAIN, "stage": ("csp",)},
    "mmpretrain-csp": {**PLAIN, "stage": ("csp",)},
    "legacy": {**PLAIN, "attention": ("SE",)},
    "glasses": BARE,
    **{family: {"stem": ("3x3/2",)} for family in REGNET_FORMATS},
}
"""Which networks each family has names for; those of timm and MMDetection are torchvision's but
for a deep stem."""


def has_names(family: str, name: str) -> bool:
    return all(getattr(VARIANTS[name], key) in values for key, values in NAMED[family].items())


SHOWN = (
    "resnext50_32x4d",
    "resnext29_8x64d",
    "resnext50d_32x4d",
    "gcresnext26ts",
    "seresnext50_32x4d",
    "skresnext50_32x4d",
    "cspresnext50",
    "eca_botnext26ts_256",
    "regnety_002",
)


PAIRS = [
    pytest.param(family, name, marks=() if name in SHOWN else pytest.mark.whole)
    for family in FORMATS
    for name in VARIANTS
    if has_names(family, name)
]


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_names_there_and_back(family: str, name: str) -> None:
    with torch.device("meta"):
        state = build_classifier(name).state_dict()
    format_ = FORMATS[family]
    theirs = {key: format_.from_own(key) for key in state}
    known = [key for key in state if not (family == "caffe2" and "num_batches" in key)]
    assert all(theirs[key] is not None for key in known)
    assert len({theirs[key] for key in known}) == len(known)
    assert all(format_.to_own(theirs[key]) == key for key in known)
    assert trunks_in([theirs[key] for key in known]) == [(family, "")]


@pytest.mark.parametrize("name", [n for n in VARIANTS if CONTESTANTS["detectron2"].builds(n)])
def test_detectron2s_names_of_every_variant(name: str) -> None:
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    with torch.device("meta"):
        peer = CONTESTANTS["detectron2"].trunk(name).model.state_dict()
        own = build_backbone(name).state_dict()
    format_ = FORMATS["detectron2"]
    ours = {format_.from_own(k): v.shape for k, v in own.items() if "num_batches" not in k}
    assert ours == {k: v.shape for k, v in peer.items()}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["conv1.weight", "layer1.0.conv1.weight"], [("torchvision", "")]),
        (["m.b.conv1.weight", "m.b.layer2.0.conv3.weight"], [("torchvision", "m.b.")]),
        (
            ["backbone.conv1.weight", "backbone.layer1.0.conv1.weight", "head.fc.weight"],
            [("mmpretrain", "")],
        ),
        (
            ["backbone.bottom_up.stem.conv1.weight", "backbone.bottom_up.res2.0.conv1.weight"],
            [("detectron2", "backbone.bottom_up.")],
        ),
        (["backbone.0.weight", "backbone.4.0.conv1.weight"], [("sequential", "backbone.")]),
        (
            [f"{p}.{n}" for p in "ab" for n in ("conv1.weight", "layer1.0.conv1.weight")],
            [("torchvision", "a."), ("torchvision", "b.")],
        ),
        (["roi_head.conv1.weight"], []),
        (["conv1.weight", "xlayer1.0.conv1.weight"], []),
        (["xconv1.weight", "xlayer1.0.conv1.weight"], []),
        (["layer1.0.conv1.weight"], []),
        (["features.0.weight"], []),
    ],
)
def test_trunks_are_found_by_stem_and_blocks(
    names: list[str], found: list[tuple[str, str]]
) -> None:
    assert trunks_in(names) == found


def test_a_field_may_stand_twice_and_count_from_one() -> None:
    template = Template("block{stage}.block{stage}-{block}.{i}")
    assert template.parse("block2.block2-0.3") == {"stage": "2", "block": "0", "i": "3"}
    assert template.parse("block2.block3-0.3") is None
    template = Template("s{stage}.b{nth}")
    assert template.parse("s1.b12") == {"stage": "1", "block": "11"}
    assert template.render({"stage": "1", "block": "11"}) == "s1.b12"
    assert template.parse("s1.b0") is None


def test_templates() -> None:
    template = Template("res{res}_{block}_branch2{branch}_bn_{blob}")
    values = template.parse("res4_22_branch2b_bn_riv")
    assert values == {"stage": "3", "block": "22", "i": "2", "norm": "running_var"}
    assert template.render(values) == "res4_22_branch2b_bn_riv"
    assert template.parse("res6_0_branch2b_bn_s") is None
    assert template.render({**values, "norm": "num_batches_tracked"}) is None
