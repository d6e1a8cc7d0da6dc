"""Whole detectors go from one framework to another, and find the same there."""

from __future__ import annotations

import pickle
import re
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from detector_files import Files, same_bits, tensors_in, write
from detector_peers import COCO, PEERS, SUFFIXES, Peer, same, tiny
from helpers import drawn, randomise
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, _utils
from torchvision.models.detection.image_list import ImageList

from resnext_backbones import cli
from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.adapters.torchvision_detectors import PreciseAnchors
from resnext_backbones.tasks.torchvision.models import anchors
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.detector_arithmetic import COCO_ROWS
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB
from resnext_backbones.weights.write_detectors import convert_detector

ALIGNED = "aligned_options"
STRIDES = (4, 8, 16, 32, 64)


@cache
def peer(framework: str, classes: int, masks: bool, settings: tuple[str, ...] = ()) -> Peer:
    """A detector of a framework, kept: none is changed but by loading."""
    if framework == "detectron2":
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    if framework == "mmdet":
        pytest.importorskip("mmdet")
    return PEERS[framework](classes, masks=masks, settings=settings)


def own_settings(framework: str) -> tuple[str, ...]:
    return (ALIGNED,) if framework == "torchvision" else ()


def images(width: int = 96) -> Tensor:
    """One that is normalised; its sides are multiples of 32."""
    return torch.randn(1, 3, 64, width, generator=torch.Generator().manual_seed(1))


def whole(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.whole)


PAIRS = list(permutations(PEERS, 2))


@pytest.mark.parametrize(
    ("first", "second", "masks", "classes"),
    [
        *((a, b, True, COCO) for a, b in PAIRS),
        *(whole(a, b, masks, 3) for a, b in PAIRS for masks in (False, True)),
        *(whole(a, b, False, COCO) for a, b in PAIRS),
    ],
)
def test_all_directions_find_the_same(
    first: str, second: str, masks: bool, classes: int, tmp_path: Path
) -> None:
    """Boxes, scores, classes and masks; torchvision's with the pools and anchors of the others."""
    if "detectron2" in (first, second):
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    source = peer(first, classes, masks, own_settings(first))
    target = peer(second, classes, masks, own_settings(second))
    written = tmp_path / f"written{SUFFIXES[second]}"
    path = write(source.content(), tmp_path / "source.pth")
    done = convert_detector(path, written, second, pixels=RGB)
    assert (done.detector.layout, done.detector.classes) == (first, classes)
    assert done.detector.has_masks == masks
    assert done.pixels == RGB
    assert (ALIGNED in done.settings) == (second == "torchvision" or first == "torchvision")
    target.load(written)
    same(target(images()), source(images()))


@pytest.mark.parametrize(("second", "masks"), [("mmdet", True), ("detectron2", True)])
def test_what_is_said_makes_torchvisions_own_detector_find_the_same(
    second: str, masks: bool, tmp_path: Path
) -> None:
    """Its pools are not aligned, its anchors rounded, and of sides that are multiples of 64 its
    strides are those of the others.
    """
    source = peer("torchvision", 3, masks)
    path = write(source.content(), tmp_path / "source.pth")
    done = convert_detector(path, tmp_path / "w.pth", second, pixels=RGB)
    lines = done.settings.split("\n(")[0].split("\n")
    target = peer(second, 3, masks, tuple(lines))
    target.load(tmp_path / "w.pth")
    same(target(images(128)), source(images(128)))


@pytest.mark.parametrize("size", [(64, 96), (96, 160)])
def test_anchors_are_mmdetections_where_torchvisions_own_are_not(size: tuple[int, int]) -> None:
    """Also in the last level of an image whose sides are no multiples of 64."""
    generators = pytest.importorskip("mmdet.models.task_modules.prior_generators")
    sizes = [[-(-side // stride) for side in size] for stride in STRIDES]
    expected = generators.AnchorGenerator(STRIDES, [0.5, 1.0, 2.0], [8]).grid_priors(
        sizes, device="cpu"
    )
    maps = [torch.zeros(1, 1, *each) for each in sizes]
    images = ImageList(torch.zeros(1, 3, *size), [size])
    assert torch.allclose(PreciseAnchors(STRIDES)(images, maps)[0], torch.cat(expected), atol=1e-4)
    rounded = anchors(STRIDES[:-1])(images, maps)[0]
    assert not torch.allclose(rounded, torch.cat(expected), atol=0.6)


@pytest.mark.whole
@pytest.mark.parametrize("second", ["mmdet", "detectron2"])
def test_what_is_said_is_all_that_there_is_to_say(second: str, tmp_path: Path) -> None:
    """A detector of usual widths on this package's trunk is built from the words alone."""
    if second == "detectron2":
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    pyramid = resnext_fpn("resnext26_32x4d", trainable_layers=5)
    model = MaskRCNN(pyramid, num_classes=COCO_ROWS)
    path = write(randomise(model).state_dict(), tmp_path / "source.pth")
    there = convert_detector(path, tmp_path / f"there{SUFFIXES[second]}", second, pixels=RGB)
    lines = there.settings.split("\n(")[0].split("\n")
    other = PEERS[second](COCO, masks=True, settings=lines, usual=True)
    other.load(tmp_path / f"there{SUFFIXES[second]}")
    write(other.content(), tmp_path / "other.pth")
    back = convert_detector(
        tmp_path / "other.pth", tmp_path / "back.pth", "torchvision", pixels=BGR
    )
    line, imported, *_ = back.settings.split("\n")
    names: dict[str, Any] = {"torchvision": torchvision, "resnext_fpn": resnext_fpn}
    exec(imported.split(":")[0], names)
    built = eval(line, names)
    built.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
    assert built.transform.image_mean == model.transform.image_mean
    first = "backbone.body.conv1.weight"
    assert built.state_dict()[first].equal(model.state_dict()[first].flip(1))


@pytest.mark.parametrize("classes", [whole(1), whole(3), COCO])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_there_and_back_bit_by_bit(
    first: str, second: str, classes: int, files: Files, tmp_path: Path
) -> None:
    state = tensors_in(files(first, classes))
    there, back = tmp_path / f"there{SUFFIXES[second]}", tmp_path / f"back{SUFFIXES[first]}"
    convert_detector(files(first, classes), there, second, pixels=RGB)
    assert state.keys().isdisjoint(tensors_in(there).keys() - _SHARED)
    convert_detector(there, back, first)  # the file that was written says its pixels
    same_bits(tensors_in(back), state)


_SHARED = {
    f"roi_heads.box_predictor.{layer}.{parameter}"
    for layer in ("cls_score", "bbox_pred")
    for parameter in ("weight", "bias")
}
"""Detectron2 and torchvision call these alike."""


def test_names_of_published_files(files: Files, tmp_path: Path) -> None:
    """torchvision's have its names of before 0.13, and no counters; MMDetection's counters, and the
    rest of a run; Detectron2's the anchors and the pixels.
    """
    state = {k: v for k, v in tensors_in(files("torchvision")).items() if "num_batches" not in k}
    earlier = {
        re.sub(
            r"mask_head\.(\d)\.0\.",
            lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.",
            re.sub(r"(blocks\.\d)\.0\.|(rpn\.head\.conv)\.0\.0\.", r"\1\2.", key),
        ): value
        for key, value in state.items()
    }
    assert earlier.keys() - state.keys(), "nothing has another name"
    tiny(3).model.load_state_dict(earlier)  # torchvision itself still takes them
    path = write(earlier, tmp_path / "earlier.pth")
    convert_detector(path, tmp_path / "d2.pkl", "detectron2", pixels=RGB)
    convert_detector(tmp_path / "d2.pkl", tmp_path / "again.pth", "torchvision")
    same_bits(tensors_in(tmp_path / "again.pth"), state)

    held = pickle.loads((tmp_path / "d2.pkl").read_bytes())
    corners = [[-(r**-0.5), -(r**0.5), r**-0.5, r**0.5] for r in (0.5, 1, 2)]
    for level in range(5):
        anchors = torch.tensor(corners) * 16 * 2**level
        held["model"][f"proposal_generator.anchor_generator.cell_anchors.{level}"] = anchors.numpy()
    for name, values in (("pixel_mean", RGB.mean), ("pixel_std", RGB.std)):
        held["model"][name] = torch.tensor(values).reshape(3, 1, 1).numpy()
    path.write_bytes(pickle.dumps(held))
    convert_detector(path, tmp_path / "once more.pth", "torchvision", pixels=RGB)
    same_bits(tensors_in(tmp_path / "once more.pth"), state)
    mean = held["model"]["pixel_mean"]
    held["model"]["pixel_mean"] = mean[[0, 1, 2, 2]]
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(WeightsError, match=r"its pixel_mean is \[123.*its metadata, its config"):
        convert_detector(path, tmp_path / "w.pth", "mmdet")
    held["model"]["pixel_mean"] = mean
    path.write_bytes(pickle.dumps({key: held[key] for key in held if key != "meta"}))
    with pytest.raises(WeightsError, match=r"its pixel_mean is \[123.*was given"):
        convert_detector(path, tmp_path / "w.pth", "mmdet", pixels=BGR_UNSCALED)
    held["model"]["proposal_generator.anchor_generator.cell_anchors.2"] *= 2
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(WeightsError, match=r"anchors\.2 is not the default"):
        convert_detector(path, tmp_path / "w.pth", "mmdet", pixels=RGB)

    state = tensors_in(files("mmdet"))
    run = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "meta": {"epoch": 12}}
    run["optimizer"] = {"state": {0: {"momentum_buffer": torch.ones(3)}}}
    convert_detector(write(run, path), tmp_path / "tv.pth", "torchvision", pixels=RGB)
    convert_detector(tmp_path / "tv.pth", tmp_path / "mm.pth", "mmdet")
    same_bits(tensors_in(tmp_path / "mm.pth"), state)


def test_norms_without_eps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's first published detectors have none, and all others have."""
    source = peer("torchvision", 3, False, (ALIGNED,))
    path = write(source.content(), tmp_path / "fasterrcnn.pth")
    assumed = convert_detector(path, tmp_path / "a.pth", "torchvision", pixels=RGB).changed
    assert any(
        "norms: an eps of 1e-05, assumed" in each and "--norm-eps 0" in each for each in assumed
    )
    given = {"pixels": RGB, "norm_eps": 0.0}
    by_hand = convert_detector(path, tmp_path / "g.pth", "torchvision", **given)
    scaled = "scaled for 1e-05, which rounds"
    assert f"norms: an eps of 0, as was given; {scaled}" in by_hand.changed
    hashes = ("x", hash_of(path)[:8])
    monkeypatch.setattr("resnext_backbones.weights.detector_eps.WITHOUT_EPS", hashes)
    done = convert_detector(path, tmp_path / "w.pth", "torchvision", pixels=RGB)
    assert f"norms: an eps of 0, by the hash of torchvision's file; {scaled}" in done.changed
    same_bits(tensors_in(tmp_path / "w.pth"), tensors_in(tmp_path / "g.pth"))
    with pytest.raises(WeightsError, match=r"eps of 0.0, by the hash.*, and 1e-05 was given"):
        convert_detector(path, tmp_path / "x.pth", "torchvision", pixels=RGB, norm_eps=1e-5)
    trunk = source.model.backbone.body
    before = trunk(images())
    try:
        _utils.overwrite_eps(source.model, 0.0)
        expected = trunk(images())
        _utils.overwrite_eps(source.model, 1e-5)
        source.load(tmp_path / "w.pth")
        found = trunk(images())
    finally:
        source.load(path)
        _utils.overwrite_eps(source.model, 1e-5)
    for name, value in expected.items():
        error = (found[name] - value).abs().max()
        assert error < 0.05 * (before[name] - value).abs().max()


def test_an_eps_that_a_file_says_and_one_that_cannot_be(tmp_path: Path) -> None:
    body = drawn(eps=0.0, norm="FrozenBN", base_channels=64)
    model = peer("torchvision", 3, False).model
    state = {k: v for k, v in model.state_dict().items() if ".body." not in k}
    trunk = nn.ModuleDict({"backbone": nn.ModuleDict({"body": randomise(body)})}).state_dict()
    trunk.update(state)
    done = convert_detector(write(trunk, tmp_path / "a"), tmp_path / "b", "mmdet", pixels=RGB)
    assert any("norms: an eps of 0, as the file says; scaled" in each for each in done.changed)
    load_weights(drawn(base_channels=64), tmp_path / "b")
    trunk["backbone.body.layer1.0.bn2.running_var"][0] = 0
    with pytest.raises(WeightsError, match=r"layer1.0.bn2 has a variance of 0, so an eps of 0"):
        convert_detector(write(trunk, tmp_path / "a"), tmp_path / "c", "mmdet", pixels=RGB)
    assert not (tmp_path / "c").exists()


def test_the_command(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dest = tmp_path / "model.pkl"
    line = ["convert", str(files("mmdet")), str(dest), "--to"]
    cli.main([*line, "detectron2", "--detector", "--to-pixels", "BGR"])
    said = capsys.readouterr().out
    assert "Mask R-CNN" in said
    assert "boxes 8, masks 12 tensors; nothing was left out" in said
    assert "MODEL.ROI_HEADS.NUM_CLASSES 3\n" in said
    assert "INPUT.FORMAT BGR\n" in said
    assert f"pixels: {BGR}" in said
    assert tensors_in(dest)["backbone.fpn_lateral2.weight"].shape[0] == 16
    for more, message in (
        (["detectron2", "--detector"], "there is a file already; --overwrite"),
        (["timm", "--detector"], "--to timm: has no layout of whole detectors"),
        (["mmdet", "--to-pixels", "RGB"], "--to-pixels RGB: is for whole detectors"),
        (["mmdet", "--class-ids", "coco"], "--class-ids coco: is for whole detectors"),
        (["mmdet", "--norm-eps", "0"], "--norm-eps 0.0: is for whole detectors"),
        (["mmdet", "--detector", "--norm-eps", "-1"], "--norm-eps -1.0: must be a number from 0"),
        (["mmdet", "--detector", "--norm-eps", "nan"], "--norm-eps nan: must be a number from 0"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*line, *more])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
