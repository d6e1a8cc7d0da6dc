"""What a detector's file says is not overridden, and what it does not say is not made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from detector_files import write
from detector_peers import tiny
from helpers import drawn, randomise
from mmengine.config import Config
from torch import nn
from torchvision.models.detection import RetinaNet, _utils
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from resnext_backbones.errors import InputError
from resnext_backbones.export.detector_facts import PUBLISHED
from resnext_backbones.export.detector_source import Source, detector_source
from resnext_backbones.tasks.torchvision.models import DETECTOR
from resnext_backbones.weights.detector_names import DETECTRON2
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.write_detectors import convert_detector

MAPS = torch.randn(2, 64, 8, 12, generator=torch.Generator().manual_seed(0))


def said_by(path: Path, **given: Any) -> Source:
    return detector_source(str(path), path, **given)


def test_pixels_that_contradict_a_file_are_refused(tmp_path: Path) -> None:
    state: Any = tiny(3, masks=False).model.state_dict()
    state._metadata["backbone.body"] |= BGR.to_metadata()
    path = write(state, tmp_path / "detector.pth")
    with pytest.raises(InputError, match=r"--pixels RGB, .*detector\.pth says BGR"):
        said_by(path, pixels=RGB)
    for given in (None, BGR):
        source = said_by(path, pixels=given)
        turned = source.network.state_dict()["backbone.body.conv1.weight"].flip(1)
        assert torch.equal(turned, state["backbone.body.conv1.weight"])
        assert source.pixels.order == "RGB"
    model = {
        "type": DETECTOR, "network": "faster_rcnn",
        "data_preprocessor": {"mean": list(BGR.mean), "std": list(BGR.std), "rgb_to_bgr": True},
    }  # fmt: skip
    run = {"meta": {"cfg": Config({"model": model}).pretty_text}, "state_dict": {}}
    with pytest.raises(InputError, match=r"--pixels RGB, .*run\.pth says BGR"):
        said_by(write(run, tmp_path / "run.pth"), pixels=RGB)


@pytest.mark.parametrize("layout", ["faster_rcnn", "retinanet"])
def test_only_coco_has_cocos_names(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ninety classes of one's own have as many rows as the ids of COCO."""
    own = tiny(90, masks=False).model if layout == "faster_rcnn" else retinanet(91)
    state = own.state_dict()
    if layout == "faster_rcnn":
        state["roi_heads.box_predictor.cls_score.bias"].zero_()
    path = write(state, tmp_path / "own.pth")
    source = said_by(path, pixels=RGB)
    assert source.classes == ()
    assert any("classes: without names" in note for note in source.notes)

    class Published:
        url = f"https://x/own-{hash_of(path)[:8]}.pth"
        meta: Any = PUBLISHED[0].meta

    if layout == "faster_rcnn":
        converted = write(tiny(80, masks=False).model.state_dict(), tmp_path / "coco.pth")
        names = said_by(converted, pixels=RGB).classes
        assert (len(names), names[1], names[90]) == (91, "person", "toothbrush")
    monkeypatch.setattr("resnext_backbones.export.detector_facts.PUBLISHED", (Published,))
    assert said_by(path, pixels=RGB).classes[1] == "person"


def retinanet(rows: int) -> Any:
    """torchvision's RetinaNet on a tiny trunk, whose norms are frozen."""
    body = randomise(drawn(norm="FrozenBN", out_indices=(1, 2, 3), base_channels=64))
    fpn = FeaturePyramidNetwork(list(body.channels), 256, LastLevelP6P7(256, 256))
    pyramid = nn.Sequential()
    pyramid.body, pyramid.fpn, pyramid.out_channels = body, fpn, 256
    return RetinaNet(pyramid, rows, head=RetinaNetHead(256, 9, rows)).eval()


def test_a_retinanets_norms_have_the_eps_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = retinanet(3)
    state = {k: v for k, v in peer.state_dict().items() if "num_batches_tracked" not in k}
    state["backbone.body.bn1.running_var"].fill_(1e-5)  # as small as the other eps, and the peer's
    path = write(state, tmp_path / "retinanet.pth")
    assert any("1e-05, assumed" in note for note in said_by(path).notes)
    _utils.overwrite_eps(peer, 0.0)
    wanted = peer.backbone.body.bn1(MAPS)
    by_hand = said_by(path, norm_eps=0.0)
    monkeypatch.setattr(
        "resnext_backbones.weights.detector_eps.WITHOUT_EPS", ("x", hash_of(path)[:8])
    )
    for source in (by_hand, said_by(path)):
        assert not any("norms:" in note for note in source.notes)
        network: Any = source.network
        assert torch.allclose(network.backbone.body.bn1(MAPS), wanted, rtol=1e-4, atol=1e-2)
    with pytest.raises(WeightsError, match=r"eps of 0.0, by the hash.*, and 1e-05 was given"):
        said_by(path, norm_eps=1e-5)


@pytest.mark.parametrize("cardinality", [1, 2])
def test_what_a_resnets_strides_are_taken_for_is_said(cardinality: int, tmp_path: Path) -> None:
    """Most of Detectron2's own are in the first 1x1 convolution, which no tensor shows."""
    peer = tiny(3, masks=False, cardinality=cardinality)
    for content, says in ((dict(peer.model.state_dict()), False), (peer.model.state_dict(), True)):
        path, written = write(content, tmp_path / "x.pth"), tmp_path / "model_final.pth"
        convert_detector(path, written, DETECTRON2, pixels=BGR, overwrite=True)
        noted = any(note.startswith("strides:") for note in said_by(written).notes)
        assert noted == (cardinality == 1 and not says)


def test_a_file_that_fits_no_network_says_where(tmp_path: Path) -> None:
    state = retinanet(3).state_dict()
    del state["head.regression_head.bbox_reg.bias"]
    with pytest.raises(InputError, match=r"not fit torchvision's RetinaNet: .*bbox_reg\.bias"):
        said_by(write(state, tmp_path / "part.pth"))


def test_what_a_torchvision_file_cannot_say_is_said(tmp_path: Path) -> None:
    """Anchors and pools are in no tensor of it."""
    path = write(tiny(3, masks=False).model.state_dict(), tmp_path / "faster.pth")
    notes = said_by(path, pixels=RGB).notes
    assert any(note.startswith("anchors, pools: torchvision's own") for note in notes)


def test_an_fcos_is_named(tmp_path: Path) -> None:
    state = retinanet(3).state_dict()
    state["head.regression_head.bbox_ctrness.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"RetinaNet's and FCOS'.*\nexported whole are"):
        said_by(write(state, tmp_path / "fcos.pth"))


def test_a_retinanet_on_another_trunk_is_named(tmp_path: Path) -> None:
    """However its file wraps it."""
    state = {k: v for k, v in retinanet(3).state_dict().items() if ".body." not in k}
    state["backbone.body.features.0.weight"] = torch.zeros(1)
    for content in (state, {"model": state}, {f"module.{k}": v for k, v in state.items()}):
        with pytest.raises(WeightsError, match=r"a RetinaNet on another trunk.*\n.*exported whole"):
            said_by(write(content, tmp_path / "own.pth"))
