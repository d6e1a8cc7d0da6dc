"""Whole detectors in ONNX Runtime find what they find in PyTorch, and in their own frameworks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_files import write
from detector_peers import PEERS, Peer
from helpers import randomise
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image
from torch import nn
from torchvision.models.detection import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.transform import _resize_image_and_masks

from resnext_backbones import cli
from resnext_backbones.data.pixels import read_image
from resnext_backbones.errors import RunError
from resnext_backbones.export import detectors
from resnext_backbones.export.detector_check import Found, matched
from resnext_backbones.export.images import normalised
from resnext_backbones.export.traced_detection import resize
from resnext_backbones.tasks.torchvision.models import DETECTOR
from resnext_backbones.weights.preprocessing import BGR, RGB, Preprocessing

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

EXAMPLE = Path(__file__).parents[2] / "examples" / "run_onnx_detector.py"
SMALL = ["min_size=96", "max_size=160", "rpn_post_nms_top_n_test=40"]
BLOCKED = "import sys, runpy; sys.modules.update(dict.fromkeys(('torch', 'resnext_backbones')))\n"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "REPEATS", 1)


def export(source: Path, out: Path, *more: str) -> None:
    command = ["export", str(source), "--detector", "--out", str(out), "--overwrite", *more]
    cli.main(command)


def run(path: Path, image: np.ndarray[Any, Any]) -> tuple[Found, dict[str, str]]:
    """What a file finds, and what it says."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    names = json.loads(said["outputs"])
    return dict(zip(names, session.run(None, {"images": image}), strict=True)), said


def test_the_example_finds_what_pytorch_does_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = PEERS["torchvision"](3, masks=True, settings=())
    source = write(peer.content(), tmp_path / "mask.pth")
    out = tmp_path / "mask.onnx"
    export(source, out, "--pixels", "RGB", "--set", *SMALL, "box_score_thresh=0.2")
    said = capsys.readouterr().out
    assert "331 x 497" in said
    assert "PyTorch" in said
    picture = tmp_path / "drawn.png"
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (83, 121, 3), np.uint8)).save(picture)
    image = normalised(read_image(picture), RGB)
    found, facts = run(out, image)
    wanted = of_torchvision(peer, image, min_size=(96,), max_size=160, top=40, least=0.2)
    assert matched(found, wanted, (83, 121), most=100, least=0.2).pairs > 3
    assert facts["detector"] == "mask_rcnn"
    assert facts["sha256"]
    assert facts["commit"]
    code = f"{BLOCKED}sys.argv = {['x', str(out), str(picture)]!r}\n"
    code += f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(found["scores"])
    label, score, box = found["labels"][0], found["scores"][0], found["boxes"][0]
    assert lines[0].startswith(f"class {label} {score:.3f} {box[0]:.1f} {box[1]:.1f}")


@pytest.mark.whole
def test_a_detector_that_finds_nothing_gives_nothing_and_is_checked_without_its_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(
        PEERS["torchvision"](3, masks=True, settings=()).content(), tmp_path / "mask.pth"
    )
    out = tmp_path / "none.onnx"
    export(source, out, "--pixels", "RGB", "--set", *SMALL, "box_score_thresh=1")
    assert "at a score threshold of 0:" in capsys.readouterr().out
    found, _ = run(out, np.zeros((1, 3, 50, 77), np.float32))
    assert [value.shape for value in found.values()] == [(0, 4), (0,), (0,), (0, 1, 50, 77)]


def of_torchvision(
    peer: Peer, image: Any, *, min_size: tuple[int, ...], max_size: int, top: int, least: float
) -> Found:
    """What torchvision's own detector finds."""
    model: Any = peer.model
    model.transform.min_size, model.transform.max_size = min_size, max_size
    model.transform.image_mean, model.transform.image_std = [0.0] * 3, [1.0] * 3
    model.roi_heads.score_thresh, model.rpn._post_nms_top_n["testing"] = least, top
    with torch.no_grad():
        (found,) = model([torch.from_numpy(image)[0]])
    return {name: value.numpy() for name, value in found.items()}


class _Resize(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return resize(image, 320, 640)[0]


def test_images_are_scaled_to_pytorchs_size(tmp_path: Path) -> None:
    """Of 77 x 32 and others float32, in which torchvision itself is traced, makes a pixel less."""
    path = tmp_path / "resize.onnx"
    free = {"image": {1: "height", 2: "width"}}
    torch.onnx.export(
        _Resize(), (torch.rand(3, 40, 50),), path,
        dynamo=False, opset_version=18, input_names=["image"], dynamic_axes=free,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    for size in [(593, 600), (428, 640), (77, 32), (32, 500), *((n, 311) for n in range(90, 130))]:
        image = torch.rand(3, *size)
        wanted = _resize_image_and_masks(image, 320, 640)[0]
        (found,) = session.run(None, {"image": image.numpy()})
        assert found.shape == tuple(wanted.shape), size
        assert np.abs(found - wanted.numpy()).max() < 1e-3


def finding(*rows: tuple[float, int, float]) -> Found:
    """Boxes of 20 pixels with these places, labels and scores."""
    corners = [[x, 10.0, x + 20, 30.0] for x, _, _ in rows]
    values = {"boxes": corners, "labels": [n for _, n, _ in rows], "scores": [s for *_, s in rows]}
    kinds = {"boxes": np.float32, "labels": np.int64, "scores": np.float32}
    return {name: np.asarray(value, kinds[name]) for name, value in values.items()}


def test_boxes_are_matched_sensibly() -> None:
    base = [(5.0, 1, 0.9), (50.0, 2, 0.60001), (52.0, 1, 0.6), (90.0, 1, 0.1)]
    swapped = finding(base[0], base[2], base[1], base[3])
    result = matched(swapped, finding(*base), (100, 100), most=100, least=0.05)
    assert (result.swapped, result.edge, result.pairs) == (2, 0, 4)
    last = matched(finding(*base[:3]), finding(*base), (100, 100), most=100, least=0.0999)
    assert last.edge == 1
    other_last = [*base[:3], (20.0, 2, 0.1)]
    assert matched(finding(*other_last), finding(*base), (100, 100), most=4, least=0).edge == 2
    for wrong in (
        base[:3],
        [*base, (70.0, 1, 0.3)],
        [(5.0, 2, 0.9), *base[1:]],
        [(5.1, 1, 0.9), *base[1:]],
        [(5.0, 1, 0.901), *base[1:]],
    ):
        with pytest.raises(RunError, match="nothing was written"):
            matched(finding(*wrong), finding(*base), (100, 100), most=100, least=0.05)


def test_others_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = PEERS["torchvision"](3, masks=False).content()
    cascade = {**state, "roi_heads.box_predictor.0.cls_score.weight": torch.zeros(1)}
    path = write(cascade, tmp_path / "other.pth")
    command = ["export", str(path), "--detector", "--out", str(tmp_path / "x"), "--pixels", "RGB"]
    for more, said in (
        ([], "exported whole are"),
        (["--format", "pt2"], "a whole detector is written as onnx"),
        (["--set", "min_sizes=4"], "--set min_sizes=4: use NAME=VALUE"),
        (["--set", "size_divisible=0"], "--set size_divisible=0: use NAME=VALUE"),
        (["--trunk"], "--trunk: is not for whole detectors"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command, *more])
        assert said in str(stopped.value) + capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))


@pytest.mark.whole
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("framework", ["mmdet", "detectron2"])
def test_a_file_finds_what_its_framework_does_in_a_real_image(
    framework: str, masks: bool, coco_tiny: Path, tmp_path: Path
) -> None:
    """The image keeps its size, since each framework scales images by other means."""
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    peer = PEERS[framework](3, masks=masks)
    source = write(peer.content(), tmp_path / "source.pth")
    out = tmp_path / "out.onnx"
    sides = ["min_size=320", "max_size=448", "rpn_post_nms_top_n_test=100"]
    export(source, out, "--pixels", "BGR", "--set", *sides)
    picture = read_image(next(path for path in sorted(coco_tiny.rglob("*.jpg"))))
    cropped = np.ascontiguousarray(picture[:320, :448])
    assert cropped.shape == (320, 448, 3)
    said = Preprocessing("RGB", BGR.mean[::-1], BGR.std[::-1])
    found, facts = run(out, normalised(cropped, said))
    held = json.loads(facts["preprocessing"])
    assert (held["order"], tuple(held["mean"])) == ("RGB", said.mean)
    theirs = peer(torch.from_numpy(normalised(cropped, BGR)))
    wanted = {
        "boxes": theirs.boxes.numpy(), "labels": theirs.labels.numpy() + 1,
        "scores": theirs.scores.numpy(),
    }  # fmt: skip
    assert matched(found, wanted, (320, 448), most=100, least=0.05).pairs > 10


@pytest.mark.whole
@pytest.mark.parametrize(
    ("build", "averaged"), [(retinanet_resnet50_fpn, False), (retinanet_resnet50_fpn_v2, True)]
)
def test_torchvisions_own_retinanet_finds_the_same(
    build: Callable[..., nn.Module], averaged: bool, coco_tiny: Path, tmp_path: Path
) -> None:
    """Alone, or as the averaged weights of a run of torchvision's reference scripts."""
    sizes = {"min_size": 160, "max_size": 256}
    peer: Any = build(weights=None, weights_backbone=None, num_classes=5, **sizes)
    tamed(randomise(peer.eval()))
    peer.transform.image_mean, peer.transform.image_std = [0.0] * 3, [1.0] * 3
    content = peer.state_dict()
    if averaged:
        behind = {f"module.{name}": value for name, value in content.items()}
        last = {name: torch.zeros_like(value) for name, value in behind.items()}
        content = {"model": last, "model_ema": {"n_averaged": torch.tensor(1), **behind}}
    source, out = write(content, tmp_path / "retinanet.pth"), tmp_path / "out.onnx"
    given = [f"{name}={value}" for name, value in sizes.items()]
    export(source, out, "--images", str(coco_tiny), "--set", *given)
    image = normalised(read_image(sorted(coco_tiny.rglob("*.jpg"))[-1]), RGB)
    found, facts = run(out, image)
    with torch.no_grad():
        (held,) = peer([torch.from_numpy(image)[0]])
    wanted = {name: value.numpy() for name, value in held.items()}
    size = image.shape[2], image.shape[3]
    assert matched(found, wanted, size, most=300, least=0.05).pairs > 10
    assert facts["detector"] == "retinanet"


@pytest.mark.whole
def test_the_checkpoint_of_a_run_says_all_that_its_file_needs(
    coco_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {
        "type": DETECTOR, "network": "mask_rcnn", "num_classes": 2, "aligned": True,
        "backbone": {"variant": "resnext26_32x4d", "norm": "BN", "trainable_layers": 5},
        "min_size": [96, 128], "max_size": 160,
        "options": {"box_score_thresh": 0.3, "rpn_post_nms_top_n_test": 100},
        "data_preprocessor": {
            "type": "resnext_backbones.ImagesPreprocessor", "mean": list(BGR.mean),
            "std": list(BGR.std), "rgb_to_bgr": True,
        },
    }  # fmt: skip
    peer = MODELS.build(dict(model))
    tamed(randomise(peer.eval()))
    meta = {"cfg": Config({"model": model}).pretty_text, "dataset_meta": {"classes": ("a", "b")}}
    content = {"meta": meta, "state_dict": peer.state_dict()}
    source, out = write(content, tmp_path / "epoch_1.pth"), tmp_path / "out.onnx"
    with pytest.raises(SystemExit):
        export(source, out, "--norm-eps", "0")
    assert re.search(r"--norm-eps 0\.0: .* says 1e-05", capsys.readouterr().err)
    export(source, out)
    picture = read_image(sorted(coco_tiny.rglob("*.jpg"))[-1])
    found, facts = run(out, normalised(picture, BGR))
    assert json.loads(facts["classes"]) == ["__background__", "a", "b"]
    assert json.loads(facts["preprocessing"])["order"] == "BGR"
    given = peer.data_preprocessor({"inputs": [torch.from_numpy(picture).permute(2, 0, 1)]})
    with torch.no_grad():
        (held,) = peer(given["inputs"])
    wanted = {name: value.numpy() for name, value in held.items()}
    assert matched(found, wanted, picture.shape[:2], most=100, least=0.3).pairs > 3


def tamed(model: nn.Module) -> None:
    """Makes what random heads give less wild: its order is then no matter of rounding."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if any(f".{layer}." in name for layer in ("bbox_pred", "bbox_reg")):
                value.mul_(0.2)
            if "rpn.head.cls_logits" in name:
                value.mul_(0.2)
