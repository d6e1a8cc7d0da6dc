"""The adapter against Detectron2's own ResNet, in the configs that Detectron2 ships."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import randomise, relative_error, shapes
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, LazyCall, get_cfg, instantiate
from detectron2.layers import deform_conv
from detectron2.modeling import build_backbone, build_model
from detectron2.solver import build_optimizer
from torchvision.ops import deform_conv2d

from resnext_backbones import build_backbone as build_trunk
from resnext_backbones.adapters import detectron2 as adapter
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.registry import RGB
from resnext_backbones.weights.write import convert

ZOO = Path(model_zoo.__file__).parent / "configs"
OWN = {
    "build_resnet_backbone": "build_resnext_backbone",
    "build_resnet_fpn_backbone": "build_resnext_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone": "build_resnext_retinanet_fpn_backbone",
}
TOLERANCE = 1e-4
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


def ours(cfg: CfgNode) -> CfgNode:
    """The config with one word changed."""
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.NAME = OWN[cfg.MODEL.BACKBONE.NAME]
    return cfg


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


def same_maps(own: nn.Module, peer: nn.Module) -> None:
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, references = own(images), peer(images)
    assert list(maps) == list(references)
    for key, reference in references.items():
        assert reference.isfinite().all()
        assert reference.std() > 0.01, "the activations died out: nothing is compared"
        assert relative_error(maps[key], reference) <= TOLERANCE, key


def small(*options: Any, name: str = "build_resnet_backbone") -> CfgNode:
    """A ResNeXt-50 that computes in milliseconds."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RESNETS.NUM_GROUPS = cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.merge_from_list(list(options))
    return cfg


def pair(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    """Ours and Detectron2's, with the same weights."""
    peer, own = randomise(build_backbone(cfg)), build_backbone(ours(cfg))
    assert shapes(own.state_dict()) == shapes(peer.state_dict())
    own.load_state_dict(peer.state_dict())
    return own, peer


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


def trained(backbone: nn.Module) -> set[str]:
    """What gets a gradient, by Detectron2's names."""
    values = {id(value): name for name, value in backbone.state_dict(keep_vars=True).items()}
    return {values[id(value)] for value in backbone.parameters() if value.requires_grad}


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "SyncBN", "GN"])
def test_a_step_of_detectron2s_optimiser_is_the_same(norm: str) -> None:
    groups = ["MODEL.RESNETS.NUM_GROUPS", 32] if norm == "GN" else []
    cfg = small("MODEL.RESNETS.NORM", norm, "SOLVER.WEIGHT_DECAY", 0.1, *groups)
    own, peer = pair(cfg)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    images = torch.randn(2, 3, 64, 64)
    for model in (own, peer):
        model.train()
        optimiser = build_optimizer(cfg, model)
        sum(y.square().mean() for y in model(images).values()).backward()
        optimiser.step()
    after = own.state_dict()
    moved = {key for key, value in after.items() if not value.equal(before[key])}
    assert {"res3.0.conv2.weight", "res5.2.conv3.weight"} <= moved
    assert not {key for key in moved if key.startswith(("stem", "res2"))}
    for key, value in peer.state_dict().items():
        assert value.equal(after[key]) or relative_error(after[key], value) <= 1e-5, key


@cache
def detectors() -> tuple[CfgNode, nn.Module, nn.Module]:
    """A Mask R-CNN of Detectron2's, small, and the same with this backbone."""
    cfg = small(name="build_resnet_fpn_backbone")
    zoo = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml")
    for part in ("RPN", "ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD", "ANCHOR_GENERATOR"):
        cfg.MODEL[part] = zoo.MODEL[part]
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return cfg, randomise(build_model(cfg)), build_model(ours(cfg))


@pytest.fixture
def detector_pair() -> tuple[nn.Module, nn.Module]:
    return copy.deepcopy(detectors()[1:])


def save(model: nn.Module, folder: Path, kind: str) -> str:
    """As Detectron2 saves a detector, or as its zoo has it."""
    if kind == "pth":
        DetectionCheckpointer(model, str(folder)).save("model")
    else:
        arrays = {key: value.numpy() for key, value in model.state_dict().items()}
        content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
        (folder / "model.pkl").write_bytes(pickle.dumps(content))
    return str(folder / f"model.{kind}")


@pytest.mark.parametrize("kind", ["pth", "pkl"])
@pytest.mark.parametrize("way", ["into ours", "back"])
def test_whole_detectors_go_both_ways(
    way: str, kind: str, detector_pair: tuple[nn.Module, nn.Module], tmp_path: Path, caplog
) -> None:
    peer, own = detector_pair
    source, target = (peer, own) if way == "into ours" else (randomise(own, seed=1), peer)
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(target).load(save(source, tmp_path, kind))
    assert not caplog.records, "a key is missing, unexpected or of another shape"
    state = target.state_dict()
    assert all(value.equal(state[key]) for key, value in source.state_dict().items())


def test_a_whole_detector_loads_by_load_state_dict(
    detector_pair: tuple[nn.Module, nn.Module],
) -> None:
    peer, own = detector_pair
    own.load_state_dict(peer.state_dict())
    image = {"image": torch.rand(3, 64, 96) * 255, "height": 64, "width": 96}
    found, expected = (model.eval()([image])[0]["instances"] for model in (own, peer))
    assert len(found) > 0
    assert torch.allclose(found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=1e-2)
    state = peer.state_dict()
    peer.load_state_dict(own.state_dict())
    assert all(value.equal(peer.state_dict()[key]) for key, value in state.items())


def caffe2(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """A backbone as Caffe2 has it: scale and shift, and no statistics."""
    plain = {FORMATS["detectron2"].to_own(key): value for key, value in state.items()}
    named = {FORMATS["caffe2"].from_own(key): value for key, value in plain.items()}
    return {k: v.numpy() for k, v in named.items() if k and not k.endswith(("_rm", "_riv"))}


@pytest.mark.parametrize("names", ["detectron2", "caffe2"])
def test_imagenet_weights_are_matched_by_the_ends_of_names(
    names: str, detector_pair: tuple[nn.Module, nn.Module], tmp_path: Path
) -> None:
    state = randomise(build_backbone(small()), seed=2).state_dict()
    arrays = {key: value.numpy() for key, value in state.items()}
    heuristics = {"model": arrays, "__author__": "someone", "matching_heuristics": True}
    content = heuristics if names == "detectron2" else caffe2(state)
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(content))
    incompatible = []
    for model in detector_pair:
        checkpointer = DetectionCheckpointer(model)
        found = checkpointer._load_model(checkpointer._load_file(str(tmp_path / "weights.pkl")))
        incompatible.append([set(keys) for keys in found])
    assert incompatible[0] == incompatible[1]
    first, second = (model.backbone.bottom_up.state_dict() for model in detector_pair)
    assert all(value.equal(second[key]) for key, value in first.items())
    assert second["res4.3.conv2.weight"].equal(state["res4.3.conv2.weight"])


def test_what_does_not_fit_is_reported_as_detectron2_does(
    detector_pair: tuple[nn.Module, nn.Module],
) -> None:
    wrong = {"res2.0.conv1.weight": torch.zeros(1), "res2.0.conv1.norm.bias": torch.zeros(1)}
    spare = {"res2.9.conv1.weight": torch.zeros(1), "res9.x": torch.zeros(1)}
    state = {f"backbone.bottom_up.{key}": v for key, v in (wrong | spare).items()}
    reports = []
    for model in detector_pair:
        found = DetectionCheckpointer(model)._load_model({"model": dict(state)})
        reports.append([sorted(keys) for keys in found])
    assert reports[0] == reports[1]
    missing, unexpected, shapes_ = reports[1]
    assert "backbone.bottom_up.stem.conv1.weight" in missing
    assert unexpected == [f"backbone.bottom_up.{key}" for key in spare]
    assert len(shapes_) == 2


def test_counters_of_batches_may_be_there_or_not() -> None:
    own, peer = pair(small("MODEL.RESNETS.NORM", "BN"))
    state = peer.state_dict()
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    own.load_state_dict({key: v for key, v in state.items() if key not in counters})
    assert not own.load_state_dict(state).missing_keys
    frozen, _ = pair(small())
    assert not any(key in frozen.state_dict() for key in counters)
    frozen.load_state_dict(state)


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


def test_a_copy_has_its_own_state() -> None:
    own, _ = pair(small())
    twin = pickle.loads(pickle.dumps(copy.deepcopy(own)))
    assert shapes(twin.state_dict()) == shapes(own.state_dict())
    twin.load_state_dict({key: torch.zeros_like(v) for key, v in own.state_dict().items()})
    assert own.state_dict()["stem.conv1.weight"].any()


def test_weights_of_any_source(tmp_path: Path) -> None:
    state = randomise(build_trunk("resnext26_32x4d")).state_dict()
    torch.save(state, tmp_path / "torchvision.pth")
    convert(tmp_path / "torchvision.pth", tmp_path / "own.safetensors", "safetensors",
            preprocessing=RGB)  # fmt: skip
    convert(tmp_path / "torchvision.pth", tmp_path / "d2.pkl", "detectron2")
    for name in ("torchvision.pth", "own.safetensors", "d2.pkl"):
        backbone = adapter.ResNeXtBackbone(depth=26, weights=tmp_path / name)
        assert backbone.loaded_weights.variant == "resnext26_32x4d"
        assert backbone.state_dict()["res5.1.conv3.weight"].equal(state["layer4.1.conv3.weight"])
    with pytest.raises(WeightsError, match=r"is resnext26_32x4d; the network is resnext50_32x4d"):
        adapter.ResNeXtBackbone(depth=50, weights=tmp_path / "d2.pkl")
    cfg = small("MODEL.RESNETS.DEPTH", 50)
    adapter.add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.WEIGHTS = str(tmp_path / "d2.pkl")
    with pytest.raises(WeightsError, match=r"is resnext26_32x4d"):
        build_backbone(ours(cfg))


def test_a_lazy_config_builds_it() -> None:
    lazy = LazyCall(adapter.ResNeXtBackbone)(
        depth=(1, 1, 1, 1), num_groups=8, out_features=["stem", "res4"], freeze_at=2
    )
    backbone = instantiate(lazy)
    assert list(backbone(torch.randn(1, 3, 64, 64))) == ["stem", "res4"]
    assert {name.split(".")[0] for name in trained(backbone)} == {"res3", "res4"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
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
