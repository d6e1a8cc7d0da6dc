"""The adapter against MMDetection's own ResNeXt, option by option; see test_shipped.py too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers import randomise, relative_error, shapes

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from shipped import backbones, model_of, on_meta, trained

from resnext_backbones import build_backbone
from resnext_backbones.adapters import openmmlab
from resnext_backbones.models import Architecture
from resnext_backbones.variants import VARIANTS

OWN = "resnext_backbones.ResNeXt"


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


OPTIONS = [
    {"depth": 50},
    {"depth": 50, "groups": 32, "base_width": 4, "style": "caffe"},
    {"depth": 50, "groups": 32, "base_width": 8, "deep_stem": True, "stem_channels": 32},
    {"depth": 50, "groups": 32, "avg_down": True, "with_cp": True},
    {"depth": 50, "groups": 32, "strides": (1, 2, 2, 1), "dilations": (1, 1, 1, 2)},
    {"depth": 50, "groups": 8, "base_channels": 32, "in_channels": 1},
    {"depth": 50, "groups": 32, "num_stages": 3, "strides": (1, 2, 2), "dilations": (1, 1, 1)}
    | {"out_indices": (2,)},
    {"depth": 50, "groups": 32, "norm_cfg": {"type": "GN", "num_groups": 8}, "norm_eval": False},
    {"depth": 50, "groups": 32, "norm_cfg": {"type": "IN"}, "frozen_stages": 2},
    {
        "depth": 50,
        "groups": 32,
        "plugins": [
            {"cfg": {"type": "ContextBlock", "ratio": 0.25, "postfix": p}, "position": position}
            for p, position in enumerate(("after_conv1", "after_conv2", "after_conv3"))
        ],
    },
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_as_mmdetection_option_by_option(options: dict[str, Any]) -> None:
    cfg = {"type": "ResNeXt", **options}
    peer, own = randomise(on_meta(cfg)), MODELS.build({**cfg, "type": OWN})
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    own.load_state_dict(peer.state_dict())
    images = torch.randn(2, options.get("in_channels", 3), 64, 96)
    # Statistics of the few pixels in stage 4 make much of the last digit: in double precision.
    few = {False: options.get("norm_cfg") == {"type": "IN"}, True: True}
    for mode, exact in few.items():
        for model in (peer, own):
            model.to(torch.float64 if exact else torch.float32)
            model.train(mode)  # MMDetection's gives nothing back
        if mode:
            assert trained(own) == trained(peer)
        images = images.double() if exact else images
        for value, reference in zip(own(images), peer(images), strict=True):
            assert relative_error(value, reference) <= (1e-10 if exact else 1e-5)


def test_feature_maps_are_in_the_order_that_mmcvs_operators_read() -> None:
    from mmcv.ops import RoIAlign

    own = MODELS.build({"type": OWN, "variant": "resnext50_32x4d", "num_stages": 1,
                        "strides": (1,), "dilations": (1,), "out_indices": (0,)})  # fmt: skip
    (features,) = own(torch.randn(1, 3, 64, 64))
    assert features.is_contiguous()
    align = RoIAlign(4, spatial_scale=0.25)
    boxes = torch.tensor([[0.0, 8.0, 8.0, 40.0, 40.0]])
    found = align(features, boxes)
    expected = torchvision.ops.roi_align(features, boxes, 4, spatial_scale=0.25, aligned=True)
    assert relative_error(found, expected) <= 1e-5


def test_gradients_are_those_of_mmdetection() -> None:
    cfg = {"type": "ResNeXt", "depth": 50, "groups": 32, "frozen_stages": 1}
    peer, own = randomise(on_meta(cfg)), MODELS.build({**cfg, "type": OWN})
    own.load_state_dict(peer.state_dict())
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for model in (peer, own):
        model.double().train()
        sum(output.square().mean() for output in model(images)).backward()
    references = dict(peer.named_parameters())
    for name, parameter in own.named_parameters():
        reference = references[name].grad
        if reference is None:
            assert parameter.grad is None, name
        else:
            assert relative_error(parameter.grad, reference) <= 1e-10, name


def test_the_scope_is_found_from_the_root_registry() -> None:
    cfg = {"type": OWN, "variant": "resnext26_32x4d"}
    model = ROOT_MODELS.build(cfg)
    assert shapes(model.state_dict()) == shapes(build_backbone("resnext26_32x4d").state_dict())
    assert MODELS.get("ResNeXt").__module__.startswith("mmdet"), "MMDetection keeps its own"


def test_multi_grid_is_of_the_last_stage() -> None:
    cfg = {"type": OWN, "depth": (1, 1, 1, 3), "groups": 32, "multi_grid": (1, 2, 4)}
    cfg |= {"strides": (1, 2, 2, 1), "dilations": (1, 1, 2, 2), "contract_dilation": True}
    model = MODELS.build(cfg)
    assert [block.conv2.dilation[0] for block in model.blocks()] == [1, 1, 1, 1, 2, 4]


CROSS = "resnext_backbones.CSPResNeXt"


def test_cross_stages_by_mmpretrains_words() -> None:
    model = MODELS.build({"type": CROSS, "depth": 50, "frozen_stages": 0, "out_indices": (0, -1)})
    plain = build_backbone("cspresnext50", frozen_stages=1)
    assert shapes(model.state_dict()) == shapes(plain.state_dict())
    assert trained(model) == trained(plain), "the stem and the first stage"
    assert [output.shape[1] for output in model(torch.randn(1, 3, 64, 64))] == [256, 2048]
    assert MODELS.build({"type": CROSS, "depth": 50, "out_indices": 2}).channels == (1024,)
    wrong = {"depth": 101, "deep_stem": True, "act_cfg": {"type": "ReLU"}, "frozen_stages": 4}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"^{name} must be"):
            MODELS.build({"type": CROSS, "depth": 50, name: value})


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet"])
def test_a_regnet_gives_the_last_map_to_heads_that_classify(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build({"type": "resnext_backbones.RegNet", "arch": "regnetx_400mf"})
        other = MODELS.build(
            {"type": "resnext_backbones.RegNet", "arch": "regnetx_400mf", "out_indices": (1,)}
        )
    assert model.out_indices == ((3,) if scope == "mmpretrain" else (0, 1, 2, 3))
    assert other.out_indices == (1,)
    assert model.norm_eval is (scope == "mmdet")


def test_a_depth_alone_is_that_of_the_librarys_own_resnext() -> None:
    """In MMPretrain's configs it has 32 groups by default, in MMDetection's one."""
    for scope, groups in (("mmpretrain", 32), ("mmdet", 1), ("mmseg", 1)):
        with DefaultScope.overwrite_default_scope(scope):
            model = MODELS.build({"type": "resnext_backbones.ResNeXt", "depth": 50})
        assert model.architecture.cardinality == groups


def test_zero_init_residual_really_fires() -> None:
    model = MODELS.build({"type": OWN, "depth": 50, "groups": 32})
    model.init_weights()
    assert not any(block.last_norm.weight.any() for block in model.blocks())


def test_deformable_convolution_options_are_left_alone() -> None:
    dcn = {"type": "DCN", "deform_groups": 1, "fallback_on_stride": True}
    stages = (False, True, True, True)
    cfg = {"type": OWN, "depth": 50, "groups": 32, "dcn": dcn, "stage_with_dcn": stages}
    model = MODELS.build(cfg)
    assert dcn == {"type": "DCN", "deform_groups": 1, "fallback_on_stride": True}
    kinds = [type(block.conv2).__name__ for block in model.stages[1]]
    assert kinds == ["Conv2d"] + ["DeformConv2dPack"] * 3
    model.init_weights()
    offsets = [block.conv2.conv_offset.weight for block in list(model.stages[1])[1:]]
    assert not any(offset.any() for offset in offsets), "offsets start at zero"


def test_wide_resnet_by_width_and_resnet_by_default() -> None:
    resnet = MODELS.build({"type": OWN, "depth": 50})
    wide = MODELS.build({"type": OWN, "depth": 50, "base_width": 128})
    assert resnet.stages[0][0].conv2.out_channels == 64
    assert wide.stages[0][0].conv2.out_channels == 128


def test_other_initialisations_are_mmengines() -> None:
    init_cfg = [{"type": "Constant", "layer": "Conv2d", "val": 0.25}]
    model = MODELS.build({"type": OWN, "variant": "resnext26_32x4d", "init_cfg": init_cfg})
    model.init_weights()
    assert (model.conv1.weight == 0.25).all()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["depth", "variant"]),
        ({"depth": 18}, ["depth", "18"]),
        ({"variant": "resnext50_32x4d", "depth": 50}, ["variant", "depth"]),
        ({"variant": "seresnext26ts", "deep_stem": True}, ["stem='tiered'", "'deep'"]),
        ({"variant": "resnext50d_32x4d", "avg_down": False}, ["shortcut='pooled'", "avg_down"]),
        ({"variant": "seresnextaa201d_32x8d", "stem_channels": 64}, ["stem_channels=128", "64"]),
        ({"variant": "cspresnext50", "style": "caffe"}, ["'cspresnext50'", "out style='caffe'"]),
        ({"variant": "cspresnext50", "avg_down": True}, ["'cspresnext50'", "out avg_down=True"]),
        ({"depth": 50, "groups": 0}, ["cardinality", "0"]),
        ({"depth": 50, "style": "tf"}, ["style", "tf"]),
        ({"depth": 50, "out_indices": (4,)}, ["out_indices", "(4,)"]),
        ({"depth": 50, "dcn": {"type": "DCN"}, "stage_with_dcn": (True,)}, ["stage_with_dcn"]),
        ({"depth": 50, "dcn": {"type": "DCN"}, "conv_cfg": {"type": "ConvWS"}}, ["conv_cfg"]),
        ({"depth": 50, "plugins": [{"cfg": {}, "position": "after"}]}, ["plugins", "after_conv1"]),
        ({"depth": 50, "groups": 3, "norm_cfg": {"type": "GN", "num_groups": 32}}, ["12 channels"]),
        ({"depth": 50, "multi_grid": (1, 2)}, ["multi_grid", "each of the 3 blocks", "(1, 2)"]),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ValueError, match=names[0].replace("(", r"\(")) as error:
        openmmlab.ResNeXt(**options)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize("cls", [openmmlab.ResNeXt, openmmlab.RegNet])
def test_a_style_is_the_variants_unless_it_is_given(cls: type, monkeypatch) -> None:
    fields = {"blocks": (1,) * 4, "base_width": 1, "stage_channels": (32, 64, 96, 128)}
    monkeypatch.setitem(VARIANTS, "other", Architecture(**fields, stride_in_1x1=True))
    styles = {None: True, "pytorch": False, "caffe": True}
    for style, expected in styles.items():
        given = {} if style is None else {"style": style}
        network = cls(variant="other", **given)
        assert network.architecture.stride_in_1x1 is expected


def test_checkpoint_of_a_whole_detector_loads(tmp_path: Path) -> None:
    name = "mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco.py"
    model = model_of(name)
    peer = randomise(on_meta(model))
    ours = copy.deepcopy(model)
    next(backbones(ours, "ResNeXt"))["type"] = OWN
    own = on_meta(ours).to_empty(device="cpu")
    result = own.load_state_dict(peer.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    torch.save({"meta": {}, "state_dict": peer.state_dict()}, tmp_path / "detector.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "detector.pth")}
    backbone = MODELS.build({"type": OWN, "variant": "resnext101_32x4d", "init_cfg": init_cfg})
    backbone.init_weights()
    assert backbone.loaded_weights.variant == "resnext101_32x4d"
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, peer.backbone.state_dict()[key])


def test_norms_are_trained_by_default_where_the_librarys_own_are() -> None:
    of = {}
    for scope in ("mmdet", "mmseg", "mmpretrain"):
        with DefaultScope.overwrite_default_scope(scope):
            left_out = ROOT_MODELS.build({"type": "resnext_backbones.ResNeXt", "depth": 26})
            asked = ROOT_MODELS.build(
                {"type": "resnext_backbones.ResNeXt", "depth": 26, "norm_eval": True}
            )
        assert not asked.train().bn1.training
        of[scope] = left_out.train().bn1.training
    assert of == {"mmdet": False, "mmseg": True, "mmpretrain": True}


def test_a_variant_stands_in_place_of_the_words_of_mmpretrains_se_resnext() -> None:
    named = openmmlab.SEResNeXt(variant="seresnext50_32x4d")
    assert named.architecture == VARIANTS["seresnext50_32x4d"]
