"""One file of weights in each framework: the same maps, and the same training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from helpers import randomise, relative_error
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from resnext_backbones import ResNeXt, build_backbone, load_weights, preprocessing_of
from resnext_backbones.weights.preprocessing import RGB
from resnext_backbones.weights.write import write_state

VARIANT = "resnext50_32x4d"
FROZEN = 1
STEM = ("conv1", "bn1", "layer1")
SIZE = (128, 160)


@dataclass
class Built:
    """A detector of a framework.

    Attributes:
        detector: all of it.
        trunk: this package's network in it.
        pixels: from an image (3, H, W) of RGB bytes to the detector's own batch of it, normalised.
        maps: from a batch to what the detector's backbone gives.
    """

    detector: nn.Module
    trunk: ResNeXt
    pixels: Callable[[Tensor], Tensor]
    maps: Callable[[Tensor], Sequence[Tensor]]


def mmdetection(file: Path) -> Built:
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config

    import resnext_backbones.adapters.openmmlab  # noqa: F401
    from resnext_backbones.tasks.mmdetection.config import use_weights

    register_all_modules()
    cfg = get_config("mmdet::faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py")
    cfg.model.backbone.update(
        type="resnext_backbones.ResNeXt",
        depth=50,
        frozen_stages=FROZEN,
        norm_cfg={"type": "BN", "requires_grad": False},
    )
    use_weights(cfg, str(file))
    detector = MODELS.build(cfg.model)
    detector.init_weights()

    def pixels(image: Tensor) -> Tensor:
        sample = DetDataSample(metainfo={"img_shape": tuple(image.shape[1:])})
        bgr = image[[2, 1, 0]]  # as MMDetection reads images
        return detector.data_preprocessor({"inputs": [bgr], "data_samples": [sample]})["inputs"]

    return Built(detector, detector.backbone, pixels, detector.backbone)


def detectron2(file: Path) -> Built:
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    import resnext_backbones.adapters.detectron2  # noqa: F401

    cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml")
    cfg.MODEL.BACKBONE.NAME = "build_resnext_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = FROZEN + 1
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 50, 4
    cfg.MODEL.DEVICE = "cpu"
    pixels = preprocessing_of(file)
    cfg.INPUT.FORMAT = pixels.order
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = list(pixels.mean), list(pixels.std)
    detector = build_model(cfg)
    bottom_up = detector.backbone.bottom_up
    load_weights(bottom_up.trunk, file)

    return Built(
        detector,
        bottom_up.trunk,
        lambda image: detector.preprocess_image([{"image": image}]).tensor,
        lambda batch: list(bottom_up(batch).values()),  # of res2 to res5
    )


def torchvision(file: Path) -> Built:
    from torchvision.models.detection import FasterRCNN

    from resnext_backbones.adapters.torchvision import pixel_options, resnext_fpn

    backbone = resnext_fpn(VARIANT, weights=file, trainable_layers=4 - FROZEN)
    sizes = {"min_size": SIZE[0], "max_size": SIZE[1]}
    detector = FasterRCNN(backbone, num_classes=81, **sizes, **pixel_options(file))

    return Built(
        detector,
        backbone.body,
        lambda image: detector.transform([image / 255])[0].tensors,
        lambda batch: list(backbone.body(batch).values()),
    )


def transformers(file: Path) -> Built:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor

    from resnext_backbones.adapters.transformers import ResNeXtConfig, pixel_options

    stages = ["stage1", "stage2", "stage3", "stage4"]
    words = {"out_features": stages, "frozen_stages": FROZEN, "weights": file}
    cfg = DetrConfig(
        backbone_config=ResNeXtConfig(network=VARIANT, **words),
        backbone=None,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        encoder_layers=1,
        decoder_layers=1,
    )
    detector = DetrForObjectDetection(cfg)
    backbone = detector.model.backbone
    backbone = getattr(backbone, "conv_encoder", backbone).model  # the former before 5
    processor = DetrImageProcessor(do_resize=False, **pixel_options(file))

    return Built(
        detector,
        backbone.trunk,
        lambda image: torch.as_tensor(
            processor(image.numpy(), return_tensors="pt", input_data_format="channels_first")[
                "pixel_values"
            ]
        ),
        lambda batch: backbone(batch).feature_maps,
    )


def timm(file: Path) -> Built:
    from timm import create_model
    from torchvision.transforms.functional import normalize

    import resnext_backbones.adapters.timm  # noqa: F401

    features = create_model(
        f"resnext_backbones_{VARIANT}",
        features_only=True,
        out_indices=(1, 2, 3, 4),
        frozen_stages=FROZEN,
        norm="FrozenBN",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(file)},
    )
    cfg = features.pretrained_cfg
    return Built(
        features,
        features.model,
        lambda image: normalize(image / 255, cfg["mean"], cfg["std"])[None],
        features,
    )


FRAMEWORKS: dict[str, tuple[str, Callable[[Path], Built]]] = {
    "MMDetection": ("mmdet", mmdetection),
    "Detectron2": ("detectron2", detectron2),
    "torchvision": ("torchvision", torchvision),
    "transformers": ("transformers", transformers),
    "timm": ("timm", timm),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    state = randomise(build_backbone(VARIANT)).state_dict()
    write_state(state, path, "safetensors", RGB.to_metadata())
    return path


@pytest.fixture(scope="module")
def image(coco_tiny: Path) -> Tensor:
    with Image.open(sorted((coco_tiny / "val2017").glob("*.jpg"))[0]) as opened:
        return pil_to_tensor(opened.convert("RGB").resize(SIZE[::-1]))


def trunk_alone(file: Path) -> Built:
    """The network by itself, on pixels that are normalised by hand."""
    trunk = build_backbone(VARIANT, frozen_stages=FROZEN, norm="FrozenBN")
    load_weights(trunk, file)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (RGB.mean, RGB.std))
    return Built(trunk, trunk, lambda image: ((image - mean) / std)[None], trunk)


def trained(built: Built, pixels: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The feature maps in training, and what a step on all that is trained made of the trunk's."""
    built.detector.to(pixels.dtype).train()
    names = [name for name, p in built.trunk.named_parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        [p for p in built.detector.parameters() if p.requires_grad], lr=1e-3
    )
    maps = built.maps(pixels)
    sum(m.square().mean() for m in maps).backward()
    optimizer.step()
    state = dict(built.trunk.named_parameters())
    return [m.detach() for m in maps], {name: state[name].detach() for name in names}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_file_gives_the_same_maps_and_the_same_step(
    framework: str, file: Path, image: Tensor
) -> None:
    package, build = FRAMEWORKS[framework]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{framework} is not installed")
    built = build(file)
    plain = trunk_alone(file)
    pixels = built.pixels(image)
    with torch.no_grad():
        for found, expected in zip(
            built.maps(pixels), plain.maps(plain.pixels(image)), strict=True
        ):
            assert relative_error(found, expected) < 1e-5
    # From the same pixels in double precision: ReLU's kink makes more of rounding in gradients.
    before = {name: p.detach().double() for name, p in built.trunk.named_parameters()}
    maps, moved = trained(built, pixels.double())
    wanted_maps, wanted = trained(plain, pixels.double())
    kept, alone = (dict(b.trunk.named_parameters()) for b in (built, plain))
    for found, expected in zip(maps, wanted_maps, strict=True):
        assert relative_error(found, expected) < 1e-12
    assert moved.keys() == wanted.keys()
    assert moved
    assert not any(name.startswith(STEM) for name in moved)
    for name, value in moved.items():
        assert relative_error(value, wanted[name]) < 1e-12
        assert not torch.equal(value, before[name])
        assert relative_error(kept[name].grad, alone[name].grad) < 1e-10
    assert all(torch.equal(kept[n], before[n]) for n in kept.keys() - moved.keys())
