"""State dicts of torchvision's own networks are evaluated, and begin runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detector_files import write
from helpers import drawn, randomise
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.earlier import translated
from resnext_backbones.tasks.torchvision.run import TASK
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.write_detectors import convert_detector

FASTER, MASK = "faster_rcnn_x50_32x4d_fpn_coco", "mask_rcnn_x50_32x4d_fpn_coco"
SEGMENTER = "fcn_x50_32x4d_coco"


def network_of(cfg: Config) -> nn.Module:
    cfg.model.num_classes = cfg.model.get("num_classes") or 80
    return randomise(MODELS.build(cfg.model)).network


def test_a_converted_detector_is_evaluated(config: Callable[..., Config], tmp_path: Path) -> None:
    """It finds what it found in a run, and is taken whole, on its pixels and pools."""
    cfg = config(FASTER, work_dir="run", images=2, train=False)
    network = network_of(cfg)
    own: dict[str, Any] = {f"network.{k}": v for k, v in network.state_dict().items()}
    TASK.evaluate(cfg, str(write({"state_dict": own}, tmp_path / "own.pth")))
    stock: dict[str, Tensor] = dict(network.state_dict())  # which then says nothing
    options: dict[str, Any] = {"class_ids": "contiguous"}
    plain = tmp_path / "plain.pth"
    source = write(stock, tmp_path / "stock.pth")
    convert_detector(source, plain, "torchvision", pixels=RGB, **options)
    TASK.evaluate(config(FASTER, work_dir="again", images=2, train=False), str(plain))
    found, expected = (tmp_path / name / "detections.json" for name in ("again", "run"))
    assert found.read_text() == expected.read_text()

    said = str(write(network.state_dict(), tmp_path / "said.pth"))
    silu = "activation='ReLU', and the network has activation='SiLU'"
    for name, settings, file, message in (
        (FASTER, ["model.data_preprocessor.mean=[0,0,0]"], plain, r"had pixels RGB, mean \(123.67"),
        (MASK, [], plain, r"^checkpoint .*plain.pth: .*\n  12 missing: network.roi_heads.mask_"),
        (FASTER, ["model.backbone.activation=SiLU"], said, f"checkpoint {said}: .*{silu}"),
    ):
        with pytest.raises(InputError, match=message):
            TASK.evaluate(config(name, *settings, train=False), str(file))
    convert_detector(plain, tmp_path / "mm.pth", "mmdet", **options)
    convert_detector(tmp_path / "mm.pth", tmp_path / "back.pth", "torchvision", **options)
    with pytest.raises(InputError, match="its run had aligned True, and the config has False"):
        TASK.evaluate(config(FASTER, train=False), str(tmp_path / "back.pth"))


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_state_dict_alone_or_as_scripts_save_it(key: str | None, tmp_path: Path) -> None:
    trunk = nn.ModuleDict({"backbone": nn.ModuleDict({"body": drawn(eps=1e-3)})})
    state = trunk.state_dict()
    write(state if key is None else {key: state, "epoch": 3}, tmp_path / "w.pth")
    found = translated(read_file(tmp_path / "w.pth"))
    assert list(found["state_dict"]) == [f"network.{name}" for name in state]
    said = found["state_dict"]._metadata
    assert said["network.backbone.body"] == state._metadata["backbone.body"]
    assert said["network"] == state._metadata[""]
    assert "meta" not in found


@pytest.mark.parametrize("pixels", [RGB, BGR])
def test_pixels_and_pools_that_a_file_says(pixels: Any) -> None:
    state = nn.ModuleDict({"backbone": nn.ModuleDict({"body": drawn()})}).state_dict()
    said = state._metadata["backbone.body"]
    said |= pixels.to_metadata() | {"aligned": "True"}
    meta = translated(state)["meta"]
    scope: dict[str, Any] = {}
    exec(meta["cfg"], scope)
    found = TASK.given(scope["model"], to_resume=False)
    assert found["pixels"] == pixels
    assert found["aligned"] is True
    said["pixel_mean"] = "[0"
    with pytest.raises(InputError, match="its pixel normalisation: "):
        translated(state)


def test_names_of_other_libraries_stay() -> None:
    state = {f"backbone.{name}": value for name, value in drawn().state_dict().items()}
    for content in (state, {"state_dict": state, "meta": {}}):
        assert translated(content) is content


def test_a_segmentation_network(config: Callable[..., Config], tmp_path: Path) -> None:
    network = network_of(config(SEGMENTER, "model.num_classes=5", train=False))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    found = translated(read_file(tmp_path / "w.pth"))["state_dict"]
    assert all(name.startswith("network.") for name in found)
    assert "network.classifier.4.weight" in found
