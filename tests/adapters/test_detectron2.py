"""The adapter against Detectron2's own ResNet, in the configs that Detectron2 ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import randomise, relative_error, shapes
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2 import model_zoo
from detectron2.config import CfgNode, LazyCall, get_cfg, instantiate
from detectron2.layers import ShapeSpec, deform_conv
from detectron2.modeling import build_backbone, build_model
from detectron2.solver import build_optimizer
from detectron2_pairs import TOLERANCE, ours, pair, same_maps, small, trained
from torchvision.ops import deform_conv2d

from resnext_backbones.adapters import detectron2 as adapter
from resnext_backbones.variants import VARIANTS

ZOO = Path(model_zoo.__file__).parent / "configs"
RESNEXTS = 6
CONFIGS = 86
"""At the commit that docs/detectron2.md names; a walk that finds fewer has gone wrong."""


@cache
def shipped() -> dict[str, CfgNode]:
    """Every YAML config of the installed zoo."""
    found = {}
    for path in sorted(ZOO.rglob("*.yaml")):
        if not path.name.startswith("Base"):
            cfg = get_cfg()
            cfg.merge_from_file(str(path))
            cfg.MODEL.DEVICE = "meta"
            found[str(path.relative_to(ZOO))] = cfg
    return found


def resnexts() -> dict[str, CfgNode]:
    return {name: cfg for name, cfg in shipped().items() if cfg.MODEL.RESNETS.NUM_GROUPS > 1}


def on_meta(cfg: CfgNode) -> nn.Module:
    with torch.device("meta"):
        return build_backbone(cfg)


def distinct() -> dict[str, CfgNode]:
    """One config of each backbone."""
    found = {}
    for name, cfg in shipped().items():
        parts = [cfg.MODEL.BACKBONE, cfg.MODEL.RESNETS]
        parts += [cfg.MODEL.FPN] if "fpn" in cfg.MODEL.BACKBONE.NAME else []
        found.setdefault(json.dumps(parts, sort_keys=True), (name, cfg))
    return dict(found.values())


@pytest.mark.whole
def test_every_config_of_the_zoo_is_found() -> None:
    assert len(shipped()) >= CONFIGS
    assert len(resnexts()) >= RESNEXTS
    assert {cfg.MODEL.RESNETS.DEPTH for cfg in resnexts().values()} == {101, 152}


def test_every_resnext_detector_of_the_zoo_takes_this_backbone() -> None:
    for name, cfg in resnexts().items():
        with torch.device("meta"):
            peer, own = build_model(cfg), build_model(ours(cfg))
        assert shapes(own.state_dict()) == shapes(peer.state_dict()), name
        assert any("bottom_up.res5" in key for key in own.state_dict())


@pytest.mark.whole
def test_every_backbone_of_the_zoo_gives_the_same_feature_maps() -> None:
    failed = {}
    for name, cfg in distinct().items():
        peer, own = on_meta(cfg), on_meta(ours(cfg))
        try:
            assert shapes(own.state_dict()) == shapes(peer.state_dict())
            assert own.output_shape() == peer.output_shape()
            assert own.size_divisibility == peer.size_divisibility
            resnet = cfg.MODEL.RESNETS.NUM_GROUPS == 1
            known = cfg.MODEL.RESNETS.DEPTH == 101 or cfg.MODEL.RESNETS.NORM != "FrozenBN"
            if not (resnet and known):  # these differ in what small networks show below
                randomise(peer)
                own.to_empty(device="cpu").load_state_dict(peer.state_dict())
                same_maps(own.eval(), peer.eval())
        except AssertionError as error:  # all of them are reported, not the first
            failed[name] = str(error)
    assert not failed


@pytest.fixture(autouse=True, scope="module")
def _deformable_on_a_cpu() -> Iterator[None]:
    """Detectron2's own operator without torchvision's is for GPUs; the rest of its block is not."""

    def modulated(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
        assert weight.shape[1] * groups == x.shape[1]
        assert offset.shape[1] == 18 * deform_groups
        geometry = {"stride": stride, "padding": padding, "dilation": dilation}
        return deform_conv2d(x, offset, weight, bias, **geometry, mask=mask)

    def plain(x, offset, weight, stride, padding, dilation, groups, deform_groups):
        return modulated(
            x, offset, None, weight, None, stride, padding, dilation, groups, deform_groups
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deform_conv, "modulated_deform_conv", modulated)
        patch.setattr(deform_conv, "deform_conv", plain)
        yield


OPTIONS = [
    ("MODEL.RESNETS.NORM", "BN"),
    ("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0),
    ("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 5),
    ("MODEL.RESNETS.NORM", "SyncBN", "MODEL.BACKBONE.FREEZE_AT", 3),
    ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.NUM_GROUPS", 32),
    ("MODEL.RESNETS.NORM", "LN", "MODEL.BACKBONE.FREEZE_AT", 1),
    ("MODEL.RESNETS.NORM", "naiveSyncBN"),
    ("MODEL.RESNETS.STRIDE_IN_1X1", True, "MODEL.RESNETS.RES5_DILATION", 2),
    ("MODEL.RESNETS.OUT_FEATURES", ["stem", "res3"], "MODEL.RESNETS.STEM_OUT_CHANNELS", 32),
    ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]),
    (
        *("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True]),
        *("MODEL.RESNETS.DEFORM_MODULATED", True, "MODEL.RESNETS.DEFORM_NUM_GROUPS", 2),
        *("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.NUM_GROUPS", 32),
    ),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_as_detectron2_option_by_option(options: tuple[Any, ...]) -> None:
    cfg = small(*options)
    own, peer = pair(cfg)
    assert own.output_shape() == peer.output_shape()
    assert trained(own) == trained(peer)
    same_maps(own.eval(), peer.eval())
    # In double precision: statistics of the twelve values in res5 make much of the last digit.
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for model in (own, peer):
        model.double().train()
    for a, b in zip(own(images).values(), peer(images).values(), strict=True):
        assert relative_error(a, b) <= TOLERANCE
    assert trained(own) == trained(peer)


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "SyncBN", "GN"])
def test_a_step_of_detectron2s_optimiser_is_the_same(norm: str) -> None:
    groups = ["MODEL.RESNETS.NUM_GROUPS", 32] if norm == "GN" else []
    cfg = small("MODEL.RESNETS.NORM", norm, "SOLVER.WEIGHT_DECAY", 0.1, *groups)
    own, peer = pair(cfg)
    before = {key: value.double() for key, value in own.state_dict().items()}
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for model in (own, peer):
        model.double().train()
        optimiser = build_optimizer(cfg, model)
        sum(y.square().mean() for y in model(images).values()).backward()
        optimiser.step()
    after = own.state_dict()
    moved = {key for key, value in after.items() if not value.equal(before[key])}
    assert {"res3.0.conv2.weight", "res5.2.conv3.weight"} <= moved
    assert not {key for key in moved if key.startswith(("stem", "res2"))}
    for key, value in peer.state_dict().items():
        assert value.equal(after[key]) or relative_error(after[key], value) <= 1e-10, key


def test_new_weights_are_drawn_as_detectron2s() -> None:
    torch.manual_seed(0)
    cfg = small("MODEL.RESNETS.NORM", "BN", "MODEL.RESNETS.WIDTH_PER_GROUP", 16)
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, True, False]
    own, peer = build_backbone(ours(cfg)).state_dict(), build_backbone(cfg).state_dict()
    for key, value in peer.items():
        if value.dim() < 2 or not value.any():  # norms, which start as the identity, and offsets
            assert value.equal(own[key]), key
        elif value.numel() > 2000:
            assert 0.8 < own[key].std() / value.std() < 1.25, key


def test_a_lazy_config_builds_it() -> None:
    lazy = LazyCall(adapter.ResNeXtBackbone)(
        depth=(1, 1, 1, 1), num_groups=8, out_features=["stem", "res4"], freeze_at=2
    )
    backbone = instantiate(lazy)
    assert list(backbone(torch.randn(1, 3, 64, 64))) == ["stem", "res4"]
    assert {name.split(".")[0] for name in trained(backbone)} == {"res3", "res4"}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_variant_by_its_name(name: str) -> None:
    row = VARIANTS[name]
    features = ["stem", *adapter.STAGES[: len(row.blocks)]]
    cfg = get_cfg()
    adapter.add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.update(NAME="build_resnext_backbone", VARIANT=name)
    cfg.MODEL.RESNETS.update(OUT_FEATURES=features, NUM_GROUPS=row.cardinality)
    own = on_meta(cfg)
    assert own.trunk.architecture == row
    outputs = own(torch.empty(1, 3, 64, 96, device="meta"))
    assert list(outputs) == features
    for key, spec in own.output_shape().items():
        height, width = 64 // spec.stride, 96 // spec.stride
        assert outputs[key].shape == (1, spec.channels, height, width)


def test_a_variant_and_keys_that_contradict_it_are_one_message() -> None:
    zoo = "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"
    cfg = model_zoo.get_config(zoo)
    adapter.add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_resnext_fpn_backbone"
    cfg.MODEL.BACKBONE.VARIANT = "resnext101_32x8d"
    cfg.MODEL.DEVICE = "meta"
    assert on_meta(cfg).bottom_up.trunk.architecture == VARIANTS["resnext101_32x8d"]
    cfg.MODEL.BACKBONE.VARIANT = "resnext50d_32x4d"
    with pytest.raises(
        ValueError, match=r"'resnext50d_32x4d' contradicts depth=101, width_per_group=8: .*RESNETS"
    ):
        on_meta(cfg)
    by_hand = partial(adapter.build_resnext_backbone, get_cfg(), ShapeSpec(channels=1))
    with torch.device("meta"):
        assert by_hand(variant="resnext50d_32x4d").trunk.architecture.in_channels == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"variant": "resnext49"}, ["variant", "resnext50_32x4d"]),
        ({"variant": "resnet50", "stride_in_1x1": True}, ["variant", "stride_in_1x1=True"]),
        ({"variant": "resnet50", "stem_out_channels": 32}, ["variant", "stem_out_channels=32"]),
        ({"variant": "resnext29_8x64d", "out_features": ("res5",)}, ["out_features", "res5"]),
        ({"variant": "resnext29_8x64d", "res5_dilation": 2}, ["res5_dilation", "2"]),
        ({"depth": 18}, ["depth", "18", "build_resnet_backbone"]),
        ({"depth": 51}, ["depth", "51"]),
        ({"out_features": ("res6",)}, ["out_features", "res6", "stem, res2"]),
        ({"out_features": ("stem",)}, ["out_features", "stem"]),
        ({"freeze_at": 6}, ["freeze_at", "6"]),
        ({"norm": ""}, ["norm", "FrozenBN", "''"]),
        ({"norm": "BatchNorm"}, ["norm", "BatchNorm"]),
        ({"norm": "GN", "num_groups": 3}, ["12 channels"]),
        ({"res5_dilation": 3}, ["res5_dilation", "3"]),
        ({"res2_out_channels": 30}, ["res2_out_channels", "30"]),
        ({"deform_on_per_stage": (True,)}, ["deform_on_per_stage"]),
        ({"deform_on_per_stage": (True,) * 4, "deform_num_groups": 3}, ["deform_groups", "3"]),
        ({"num_groups": 0}, ["cardinality", "0"]),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ValueError, match=names[0]) as error:
        adapter.ResNeXtBackbone(**options)
    for name in names:
        assert name in str(error.value)


def test_an_old_detectron2_is_refused() -> None:
    for version in ("0.6", "0.6+cu113", "0.10", "1.0"):
        adapter.require_version(version)
    with pytest.raises(ImportError, match=r"Detectron2 0.4.1 is too old, 0.6 is the first"):
        adapter.require_version("0.4.1")
