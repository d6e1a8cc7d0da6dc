"""The adapter against MMDetection's own ResNeXt, in every config that MMDetection ships."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers import randomise, relative_error, shapes
from torch import nn

mmdet = pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS as ROOT_MODELS  # noqa: E402

from resnext_backbones import build_backbone  # noqa: E402
from resnext_backbones.adapters import openmmlab  # noqa: E402

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
OWN = "resnext_backbones.ResNeXt"
TOLERANCE = 1e-4
MIN_CONFIGS = 97
"""In MMDetection 3.5.1; a walk that finds fewer has gone wrong."""


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


def backbones(node: Any) -> Iterator[dict[str, Any]]:
    """Every backbone config of MMDetection's ResNeXt in a model's config."""
    if isinstance(node, dict):
        if node.get("type") == "ResNeXt":
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from backbones(child)


def model_of(name: str) -> dict[str, Any]:
    """The model of a shipped config."""
    return Config.fromfile(CONFIGS / name, import_custom_modules=False).model


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """The models of all shipped configs that use ResNeXt, by the config's name."""
    found = {}
    for path in sorted(CONFIGS.rglob("*.py")):
        if "_base_" in path.parts:
            continue
        try:
            model = Config.fromfile(path, import_custom_modules=False).get("model")
        except (OSError, ImportError, KeyError):
            continue  # some shipped configs inherit from files that are not shipped
        if any(True for _ in backbones(model)):
            found[str(path.relative_to(CONFIGS))] = model
    return found


def on_meta(cfg: dict[str, Any]) -> nn.Module:
    """Built without memory: a detector in a second."""
    with torch.device("meta"):
        return MODELS.build(copy.deepcopy(cfg))


def without_download(cfg: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cfg.items() if key != "init_cfg"}


@cache
def largest_difference(backbone: str) -> float:
    """Between MMDetection's feature maps and ours, from the same weights, over both modes.

    Args:
        backbone: the config as JSON. Most configs share a few backbones; each is run once.
    """
    cfg = {**json.loads(backbone), "norm_eval": True}
    peer = randomise(on_meta(cfg))
    own = on_meta({**cfg, "type": OWN}).to_empty(device="cpu")
    own.load_state_dict(peer.state_dict())
    images = torch.randn(1, 3, 96, 96)
    largest = 0.0
    for mode in (False, True):
        own.train(mode)
        peer.train(mode)
        with torch.no_grad():
            for value, reference in zip(own(images), peer(images), strict=True):
                assert reference.isfinite().all()
                assert reference.std() > 0.05, "the activations died out: nothing is compared"
                largest = max(largest, (value - reference).abs().max().item())
    return largest


def takes_this_backbone(model: dict[str, Any]) -> None:
    ours = copy.deepcopy(model)
    for backbone in backbones(ours):
        backbone["type"] = OWN
    peer, own = on_meta(model), on_meta(ours)
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    for backbone in backbones(model):
        text = json.dumps(without_download(backbone), sort_keys=True)
        assert largest_difference(text) <= TOLERANCE
    assert trained(own) == trained(peer)


@pytest.mark.parametrize(
    "name",
    [
        "cascade_rcnn/cascade-mask-rcnn_x101-32x8d_fpn_ms-3x_coco.py",
        "gcnet/cascade-mask-rcnn_x101-32x4d-syncbn-dconv-c3-c5-r4-gcb-c3-c5_fpn_1x_coco.py",
        "gn+ws/faster-rcnn_x50-32x4d_fpn_gn-ws-all_1x_coco.py",
        "solov2/solov2_x101-dcn_fpn_ms-3x_coco.py",
    ],
)
def test_a_shipped_config_takes_this_backbone(name: str) -> None:
    """One of each norm and convolution, and with plugins; all of them are in the next test."""
    takes_this_backbone(model_of(name))


@pytest.mark.whole
def test_every_shipped_config_takes_this_backbone() -> None:
    assert len(shipped()) >= MIN_CONFIGS
    failed = {}
    for name, model in shipped().items():
        try:
            takes_this_backbone(model)
        except Exception as error:  # all of them are reported, not the first
            failed[name] = f"{type(error).__name__}: {error}"
    assert not failed


def trained(model: nn.Module) -> set[str]:
    """The parameters that get a gradient in training."""
    model.train()
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


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
        ({"depth": 50, "groups": 0}, ["cardinality", "0"]),
        ({"depth": 50, "style": "tf"}, ["style", "tf"]),
        ({"depth": 50, "out_indices": (4,)}, ["out_indices", "(4,)"]),
        ({"depth": 50, "dcn": {"type": "DCN"}, "stage_with_dcn": (True,)}, ["stage_with_dcn"]),
        ({"depth": 50, "dcn": {"type": "DCN"}, "conv_cfg": {"type": "ConvWS"}}, ["conv_cfg"]),
        ({"depth": 50, "plugins": [{"cfg": {}, "position": "after"}]}, ["plugins", "after_conv1"]),
        ({"depth": 50, "groups": 3, "norm_cfg": {"type": "GN", "num_groups": 32}}, ["12 channels"]),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ValueError, match=names[0].replace("(", r"\(")) as error:
        openmmlab.ResNeXt(**options)
    for name in names:
        assert name in str(error.value)


def test_checkpoint_of_a_whole_detector_loads(tmp_path: Path) -> None:
    name = "mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco.py"
    model = model_of(name)
    peer = randomise(on_meta(model))
    ours = copy.deepcopy(model)
    next(backbones(ours))["type"] = OWN
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
