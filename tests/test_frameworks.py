"""One file of weights in detectors of three frameworks: the same maps, and the same training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import randomise, relative_error
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from resnext_backbones import ResNeXt, build_backbone, load_weights
from resnext_backbones.weights.registry import RGB
from resnext_backbones.weights.write import write_state

VARIANT = "resnext50_32x4d"
FROZEN = 1
STEM = ("conv1", "bn1", "layer1")


def mmdetection(file: Path) -> tuple[nn.Module, ResNeXt]:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config

    import resnext_backbones.adapters.openmmlab  # noqa: F401

    register_all_modules()
    model = get_config("mmdet::faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py").model
    model.backbone.update(
        type="resnext_backbones.ResNeXt",
        depth=50,
        frozen_stages=FROZEN,
        norm_cfg={"type": "BN", "requires_grad": False},
        init_cfg={"type": "Pretrained", "checkpoint": str(file)},
    )
    detector = MODELS.build(model)
    detector.init_weights()
    return detector, detector.backbone


def detectron2(file: Path) -> tuple[nn.Module, ResNeXt]:
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    import resnext_backbones.adapters.detectron2  # noqa: F401

    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml")
    cfg.MODEL.BACKBONE.NAME = "build_resnext_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = FROZEN + 1
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 50, 4
    cfg.MODEL.DEVICE = "cpu"
    detector = build_model(cfg)
    load_weights(detector.backbone.bottom_up.trunk, file)
    return detector, detector.backbone.bottom_up.trunk


def torchvision(file: Path) -> tuple[nn.Module, ResNeXt]:
    from torchvision.models.detection import FasterRCNN

    from resnext_backbones.adapters.torchvision import resnext_fpn

    backbone = resnext_fpn(VARIANT, weights=file, trainable_layers=4 - FROZEN)
    return FasterRCNN(backbone, num_classes=81), backbone.body


FRAMEWORKS: dict[str, tuple[str, Callable[[Path], tuple[nn.Module, ResNeXt]]]] = {
    "MMDetection": ("mmdet", mmdetection),
    "Detectron2": ("detectron2", detectron2),
    "torchvision": ("torchvision", torchvision),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    state = randomise(build_backbone(VARIANT)).state_dict()
    write_state(state, path, "safetensors", RGB.to_metadata())
    return path


@pytest.fixture(scope="module")
def image(coco_tiny: Path) -> torch.Tensor:
    with Image.open(sorted((coco_tiny / "val2017").glob("*.jpg"))[0]) as opened:
        pixels = pil_to_tensor(opened.convert("RGB").resize((160, 128))).float()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (RGB.mean, RGB.std))
    return ((pixels - mean) / std)[None]


def trained_step(trunk: ResNeXt, image: torch.Tensor) -> tuple[list[torch.Tensor], set[str]]:
    """The feature maps in training, and what is trained, once it has taken a step."""
    names = {name for name, p in trunk.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD([p for p in trunk.parameters() if p.requires_grad], lr=1e-3)
    maps = ResNeXt.forward(trunk, image)
    sum(m.square().mean() for m in maps).backward()
    optimizer.step()
    return [m.detach() for m in maps], names


@pytest.fixture(scope="module")
def expected(file: Path, image: torch.Tensor):
    trunk = build_backbone(VARIANT, frozen_stages=FROZEN, norm="FrozenBN").train()
    load_weights(trunk, file)
    maps, names = trained_step(trunk, image)
    return maps, names, trunk.state_dict()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_file_gives_the_same_maps_and_the_same_step(
    framework: str, file: Path, image: torch.Tensor, expected
) -> None:
    package, build = FRAMEWORKS[framework]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{framework} is not installed")
    detector, trunk = build(file)
    detector.train()
    maps, names = trained_step(trunk, image)
    wanted_maps, wanted_names, wanted_state = expected
    for found, wanted in zip(maps, wanted_maps, strict=True):
        assert relative_error(found, wanted) < 1e-5
    assert names == wanted_names
    assert names
    assert not any(name.startswith(STEM) for name in names)
    state = ResNeXt.state_dict(trunk)
    before = build_backbone(VARIANT)
    load_weights(before, file)
    for name in names:
        assert relative_error(state[name], wanted_state[name]) < 1e-6
        moved = state[name] - before.state_dict()[name]
        assert relative_error(moved, wanted_state[name] - before.state_dict()[name]) < 1e-3
    frozen = state.keys() - names
    assert all(torch.equal(state[n], before.state_dict()[n]) for n in frozen if "num_b" not in n)
