"""Weights that go between Detectron2's detectors and those with this backbone."""

from __future__ import annotations

import copy
import logging
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SMALL, randomise, shapes
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from detectron2_pairs import ours, pair, small

from resnext_backbones import build_backbone as build_trunk
from resnext_backbones.adapters import detectron2 as adapter
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.preprocessing import RGB
from resnext_backbones.weights.write import convert


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


def test_a_copy_has_its_own_state() -> None:
    own, _ = pair(small())
    twin = pickle.loads(pickle.dumps(copy.deepcopy(own)))
    assert shapes(twin.state_dict()) == shapes(own.state_dict())
    twin.load_state_dict({key: torch.zeros_like(v) for key, v in own.state_dict().items()})
    assert own.state_dict()["stem.conv1.weight"].any()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"stem": "deep", "attention": "SE", "pooling": "ceil"}, "trunk.{}"),
        ({"attention": "BAT", "attention_after": 2, "activation": "SiLU"}, ""),
    ],
)
def test_networks_that_detectron2_does_not_have(
    fields: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog
) -> None:
    """A detector's file fills another one, and a trunk alone; by this package's names where
    Detectron2's say nothing of a part, as of a deep stem.
    """
    monkeypatch.setitem(VARIANTS, "other", replace(SMALL, **fields))
    source, target = (
        nn.ModuleDict({"backbone": adapter.ResNeXtBackbone(variant="other")}) for _ in range(2)
    )
    state = randomise(source).state_dict()
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(target).load(save(source, tmp_path, "pth"))
    assert not caplog.records
    assert all(value.equal(target.state_dict()[key]) for key, value in state.items())
    trunk = build_trunk("other")
    assert load_weights(trunk, tmp_path / "model.pth").variant == "other"
    for key, value in trunk.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            theirs = name.format(key) or FORMATS["detectron2"].from_own(key)
            assert value.equal(state[f"backbone.{theirs}"])
    other = build_trunk("other", activation="LeakyReLU")
    with pytest.raises(WeightsError, match=r"were trained with .* activation='LeakyReLU'"):
        load_weights(other, tmp_path / "model.pth")


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
    message = "holds resnext26_32x4d; the network is resnext50_32x4d"
    with pytest.raises(WeightsError, match=message):
        adapter.ResNeXtBackbone(depth=50, weights=tmp_path / "d2.pkl")
    cfg = small("MODEL.RESNETS.DEPTH", 50)
    adapter.add_resnext_config(cfg)
    cfg.MODEL.BACKBONE.WEIGHTS = str(tmp_path / "d2.pkl")
    with pytest.raises(WeightsError, match="holds resnext26_32x4d"):
        build_backbone(ours(cfg))


def test_detectron2s_names_lead_to_the_trunks_tensors() -> None:
    """And what is done with modules that are not there is not without effect."""
    backbone = adapter.ResNeXtBackbone(depth=50, norm="BN")
    backbone.stem.conv1.weight.requires_grad = False
    assert not backbone.trunk.conv1.weight.requires_grad
    assert backbone.res2[0].conv1.norm.running_mean is backbone.trunk.layer1[0].bn1.running_mean
    for wrong in (
        lambda: backbone.stem.conv1.parameters(),
        lambda: backbone.res2(torch.zeros(1, 64, 8, 8)),
        lambda: setattr(backbone.stem.conv1, "weight", None),
        lambda: backbone.res2[3],
    ):
        with pytest.raises((AttributeError, TypeError), match=r"modules are in .* `trunk`"):
            wrong()
