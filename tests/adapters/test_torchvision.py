"""torchvision's detectors and segmentation networks, against torchvision's own."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import randomise, relative_error, shapes
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import io
from torchvision.models import ResNeXt50_32X4D_Weights, detection, segmentation
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import (
    _resnet_fpn_extractor,
    resnet_fpn_backbone,
)
from torchvision.models.resnet import Bottleneck as PeerBlock
from torchvision.models.resnet import ResNet
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from resnext_backbones import build_backbone, build_classifier
from resnext_backbones.adapters.torchvision import (
    deeplabv3,
    fcn,
    pixel_options,
    resnext_fpn,
)
from resnext_backbones.compute.folding import Folding
from resnext_backbones.models.freezing import RandomStagesWarning
from resnext_backbones.weights import WeightsError, load_state, load_weights, preprocessing_of
from resnext_backbones.weights.preprocessing import BGR
from resnext_backbones.weights.sources import row_of

NAME = "resnext50_32x4d"
PEER = {"weights": None, "weights_backbone": None, "num_classes": 3}
SMALL = {"min_size": 64, "max_size": 96}
TWO_STAGES = {
    "box_score_thresh": 0.0,
    "box_detections_per_img": 8,
    "rpn_post_nms_top_n_train": 64,
    "rpn_post_nms_top_n_test": 32,
    "box_batch_size_per_image": 16,
}
ONE_STAGE = {"score_thresh": 0.0, "detections_per_img": 8, "topk_candidates": 64}
P6P7 = {"returned_layers": [2, 3, 4]}


def p6p7(channels: int = 256) -> dict[str, Any]:
    return {**P6P7, "extra_blocks": LastLevelP6P7(channels, 256)}


DETECTORS: dict[str, tuple[Callable, Callable, dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "faster": (detection.fasterrcnn_resnet50_fpn, detection.FasterRCNN, TWO_STAGES, dict),
    "mask": (detection.maskrcnn_resnet50_fpn, detection.MaskRCNN, TWO_STAGES, dict),
    "keypoint": (
        detection.keypointrcnn_resnet50_fpn,
        partial(detection.KeypointRCNN, num_keypoints=17),
        TWO_STAGES,
        dict,
    ),
    "retinanet": (detection.retinanet_resnet50_fpn, detection.RetinaNet, ONE_STAGE, p6p7),
    "fcos": (detection.fcos_resnet50_fpn, detection.FCOS, ONE_STAGE, p6p7),
}


SEGMENTATION = {
    "deeplabv3": (segmentation.deeplabv3_resnet50, deeplabv3),
    "fcn": (segmentation.fcn_resnet50, fcn),
}


@pytest.fixture(scope="session")
def sample(coco_tiny: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """A real image, 0 to 1, and two of its boxes with masks and keypoints that fill them."""
    content = json.loads((coco_tiny / "annotations/instances_val2017.json").read_text())
    image = content["images"][0]
    pixels = io.decode_image(str(coco_tiny / "val2017" / image["file_name"]), io.ImageReadMode.RGB)
    found = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]
    x, y, w, h = torch.tensor(sorted(found, key=lambda b: -b[2] * b[3])[:2]).T
    boxes = torch.stack([x, y, x + w, y + h], 1)
    masks = torch.zeros(len(boxes), *pixels.shape[1:], dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    centres = torch.stack([x + w / 2, y + h / 2, torch.ones_like(x)], 1)
    return pixels / 255, {
        "boxes": boxes,
        "labels": torch.arange(1, len(boxes) + 1),
        "masks": masks,
        "keypoints": centres[:, None].repeat(1, 17, 1),
    }


def peer_trunk(norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d, **options: Any) -> ResNet:
    """torchvision's own network of one block a stage."""
    options = {key: value for key, value in options.items() if key.startswith("replace")}
    return ResNet(PeerBlock, [1] * 4, groups=4, width_per_group=4, norm_layer=norm_layer, **options)


@pytest.fixture
def tiny_peers(tiny: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the same network here; torchvision's builders take theirs for ResNet-50."""
    for builder in [row[0] for row in (*DETECTORS.values(), *SEGMENTATION.values())]:
        monkeypatch.setitem(inspect.unwrap(builder).__globals__, "resnet50", peer_trunk)
    return tiny


@pytest.mark.parametrize("name", DETECTORS)
def test_names_are_torchvisions(name: str) -> None:
    """Of whole detectors with a real ResNet-50."""
    builder, detector, _, levels = DETECTORS[name]
    with torch.device("meta"):
        peer = builder(**PEER)
        own = detector(resnext_fpn("resnet50", norm="BN", **levels()), num_classes=3)
    assert list(own.state_dict()) == list(peer.state_dict())
    assert shapes(own.state_dict()) == shapes(peer.state_dict())


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_equal_torchvisions(
    name: str, tiny_peers: str, sample: tuple[Tensor, dict]
) -> None:
    """Norms of a batch in the losses, frozen ones in the detections, and a step of training.

    The step in double precision: rounding turns some values round ReLU's kink to its other side.
    """
    builder, detector, options, levels = DETECTORS[name]
    options = options | SMALL
    peer = builder(**PEER, **options)
    randomise(peer.backbone)
    start = {key: value.clone() for key, value in peer.state_dict().items()}
    own = detector(
        resnext_fpn(tiny_peers, trainable_layers=5, norm="BN", **levels()), num_classes=3, **options
    )
    image, target = sample
    exact = {**target, "boxes": target["boxes"].double()}
    losses, detections, stepped = [], [], []
    for model in (peer, own):
        model.load_state_dict(start)
        with torch.no_grad():
            detections.append(model.eval()([image])[0])
        torch.manual_seed(0)  # both sample the same proposals
        found = model.double().train()([image.double()], [exact])
        losses.append({key: value.item() for key, value in found.items()})
        sum(found.values()).backward()
        torch.optim.SGD(model.parameters(), lr=0.01).step()
        stepped.append(model.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
    assert len(detections[0]["scores"]) == 8
    assert detections[1].keys() == detections[0].keys()
    for key, value in detections[0].items():
        assert relative_error(detections[1][key].float(), value.float()) < 1e-4, key
    for key, value in stepped[0].items():
        if key.startswith("backbone.body") and value.is_floating_point():
            assert relative_error(stepped[1][key], value) < 1e-10, key
    peer.load_state_dict(own.state_dict())
    moved = {key for key, value in stepped[1].items() if not value.equal(start[key].to(value))}
    assert moved >= {f"backbone.body.{key}" for key, _ in own.backbone.body.named_parameters()}


@pytest.mark.parametrize("builder", ["retinanet_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2"])
def test_second_weights_have_the_same_names(builder: str) -> None:
    """Their pyramids have norms, or another P6."""
    levels = p6p7(2048) if "retinanet" in builder else {"fpn_norm": nn.BatchNorm2d}
    with torch.device("meta"):
        peer = getattr(detection, builder)(**PEER)
        own = resnext_fpn("resnet50", norm="BN", **levels)
    assert shapes(own.state_dict()) == shapes(peer.backbone.state_dict())


def test_feature_maps_of_a_real_network() -> None:
    """Frozen norms, as in published detectors."""
    peer = randomise(resnet_fpn_backbone(backbone_name=NAME, weights=None)).eval()
    own = resnext_fpn(NAME).eval()
    own.load_state_dict(peer.state_dict())
    peer.load_state_dict(own.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs = [model(images) for model in (peer, own)]
    assert list(outputs[1]) == list(outputs[0]) == ["0", "1", "2", "3", "pool"]
    for key, value in outputs[0].items():
        assert relative_error(outputs[1][key], value) < 1e-5


def parameters_of(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters) - {"kwargs"}


def test_arguments_are_torchvisions(tiny: str) -> None:
    assert parameters_of(resnet_fpn_backbone) <= parameters_of(resnext_fpn)
    named = {"trainable_layers": 5, "weights": None, "returned_layers": [4], "extra_blocks": None}
    own = resnext_fpn(backbone_name=tiny, norm_layer=nn.BatchNorm2d, **named)
    assert type(own.body.bn1) is nn.BatchNorm2d
    with pytest.raises(ValueError, match="norm must be left out beside norm_layer, got 'GN'"):
        resnext_fpn(tiny, norm_layer=nn.BatchNorm2d, norm="GN")
    for builder, own_builder in SEGMENTATION.values():
        # torchvision's `weights` are of the whole network, which no one publishes with a ResNeXt.
        for word in parameters_of(builder) - {"weights", "progress"}:
            value = {"num_classes": 3, "aux_loss": True, "weights_backbone": None}[word]
            model = own_builder(tiny, **{word: value})
        assert own_builder(tiny, aux_loss=True).aux_classifier is not None
        assert own_builder(tiny, num_classes=None).classifier[-1].out_channels == 21
    with pytest.raises(ValueError, match="aux_classifier must be left out beside aux_loss"):
        deeplabv3(tiny, aux_loss=True, aux_classifier=False)
    assert model.backbone.loaded_weights is None


def test_torchvisions_names_are_sources_of_weights() -> None:
    name = ResNeXt50_32X4D_Weights.IMAGENET1K_V2
    assert row_of(name).alias == "torchvision/resnext50_32x4d.v2"
    assert preprocessing_of(name) == preprocessing_of("torchvision/resnext50_32x4d.v2")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        build_backbone("resnext26_32x4d", weights=Path("absent.pth"))


def test_torchvisions_extractor_takes_the_trunk(tiny: str) -> None:
    own, peer = build_backbone(tiny).eval(), peer_trunk()
    randomise(peer)
    own.load_state_dict({k: v for k, v in peer.state_dict().items() if not k.startswith("fc.")})
    models = [_resnet_fpn_extractor(trunk, 3).eval() for trunk in (own, peer)]
    models[0].fpn.load_state_dict(models[1].fpn.state_dict())
    images = torch.randn(1, 3, 64, 96)
    found, expected = (model(images) for model in models)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert relative_error(found[key], value) < 1e-5
    trained = [{k for k, p in m.named_parameters() if p.requires_grad} for m in models]
    assert trained[0] == trained[1]


def test_random_values_that_are_frozen_are_warned_of(tiny: str, tmp_path: Path) -> None:
    torch.save(build_backbone(tiny).state_dict(), tmp_path / "weights.pth")
    for build in (resnext_fpn, deeplabv3):
        frozen = {"trainable_layers": 3} if build is resnext_fpn else {"frozen_stages": 1}
        free = {"trainable_layers": 5} if build is resnext_fpn else {}
        with pytest.warns(RandomStagesWarning, match="random values are frozen"):
            build(tiny, **frozen)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(tiny, **free)
            build(tiny, **frozen, weights=tmp_path / "weights.pth")


@pytest.mark.parametrize("trainable", range(6))
def test_what_is_trained_and_what_a_step_does(trainable: int, tiny: str) -> None:
    peer = _resnet_fpn_extractor(peer_trunk(FrozenBatchNorm2d), trainable)
    own = resnext_fpn(tiny, trainable_layers=trainable)
    peer, own = peer.double(), own.double()  # ReLU's kink makes more of rounding
    trained = [{k for k, p in m.named_parameters() if p.requires_grad} for m in (peer, own)]
    assert trained[0] == trained[1]
    randomise(peer)
    start = {key: value.clone() for key, value in peer.state_dict().items()}
    own.load_state_dict(start)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    stepped = []
    for model in (peer, own):
        sum(value.square().mean() for value in model.train()(images).values()).backward()
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01).step()
        stepped.append(model.state_dict())
    moved = [{k for k, v in state.items() if not v.equal(start[k])} for state in stepped]
    assert moved[0] == moved[1] == trained[0]
    for key, value in stepped[0].items():
        assert relative_error(stepped[1][key], value) < 1e-12, key


def test_frozen_norms_stay_as_they_are(tiny: str) -> None:
    """Whatever their kind."""
    own = resnext_fpn(tiny, trainable_layers=3, norm="BN").train()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    own(torch.randn(2, 3, 32, 32))
    moved = {key for key, value in own.state_dict().items() if not value.equal(before[key])}
    assert moved
    assert all(key.startswith(("body.layer2", "body.layer3", "body.layer4")) for key in moved)


def test_epsilon_of_the_first_published_detectors_is_taken_over(tiny: str) -> None:
    """They were trained with one of 0, and torchvision's `overwrite_eps` sets it."""
    own = resnext_fpn(tiny)
    overwrite_eps(own, 0.0)
    block = own.body.layer1[0]
    assert Folding.of(block.conv1, block.bn1).eps == 0


def test_fewer_levels(tiny: str) -> None:
    own = resnext_fpn(tiny, returned_layers=[2, 3], trainable_layers=0)
    peer = _resnet_fpn_extractor(peer_trunk(FrozenBatchNorm2d), 0, [2, 3])
    assert list(own.state_dict()) == list(peer.state_dict())
    assert list(own(torch.randn(1, 3, 64, 64))) == ["0", "1", "pool"]


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_equals_torchvisions(name: str, tiny_peers: str) -> None:
    builder, own_builder = SEGMENTATION[name]
    with torch.device("meta"):
        peer = builder(**PEER, aux_loss=True)
        own = own_builder(tiny_peers, num_classes=3, aux_classifier=True)
    assert list(own.state_dict()) == list(peer.state_dict())
    randomise(peer)
    own.to_empty(device="cpu").load_state_dict(peer.state_dict())
    peer.load_state_dict(own.state_dict())
    images = torch.randn(2, 3, 64, 96)
    # Training in double precision: rounding turns some values round ReLU's kink to its other side.
    for mode, bound in ((False, 1e-5), (True, 1e-10)):
        outputs = []
        for model in (peer, own):
            # Dropout draws in the order of memory, which is channels_last here.
            for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
                dropout.p = 0
            model.train(mode).double() if mode else model.train(mode)
            outputs.append(model(images.to(next(model.parameters()))))
        assert list(outputs[1]) == list(outputs[0]) == ["out", "aux"]
        for key, value in outputs[0].items():
            assert relative_error(outputs[1][key], value) < bound, (mode, key)
    grads = []
    for model, output in zip((peer, own), outputs, strict=True):
        (output["out"].square().mean() + output["aux"].square().mean()).backward()
        grads.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in grads[0].items():
        assert relative_error(grads[1][name], gradient) < 1e-10, name


def test_an_output_stride_of_16(tiny: str) -> None:
    """torchvision's trunk with the strides of its last stage replaced, and the paper's rates."""
    trunk = randomise(peer_trunk(replace_stride_with_dilation=[False, False, True]))
    peer = IntermediateLayerGetter(trunk, {"layer4": "out"}).eval()
    own = deeplabv3(tiny, output_stride=16, num_classes=5).eval()
    own.backbone.load_state_dict(peer.state_dict())
    images = torch.randn(1, 3, 64, 96)
    assert own.backbone.strides == (16,)
    assert relative_error(own.backbone(images)["out"], peer(images)["out"]) < 1e-5
    rates = [conv[0].dilation[0] for conv in list(own.classifier[0].convs)[1:4]]
    assert rates == [6, 12, 18]
    assert own(images)["out"].shape == (1, 5, 64, 96)


def test_published_weights_and_their_pixels(tiny: str, tmp_path: Path) -> None:
    """A classifier's file fills the trunk; a detector's file fills it again, by its own names."""
    classifier = randomise(build_classifier(tiny, num_classes=10))
    file = tmp_path / "weights.safetensors"
    state = {key: value.contiguous() for key, value in classifier.state_dict().items()}
    pixels = {"pixel_order": "RGB", "pixel_mean": "[127.5, 51, 255]", "pixel_std": "[51, 51, 51]"}
    save_file(state, file, metadata=pixels)
    own = resnext_fpn(tiny, weights=file)
    assert own.body.loaded_weights is not None
    assert own.body.loaded_weights.variant == tiny
    assert own.body.layer4[0].conv3.weight.equal(state["layer4.0.conv3.weight"])
    assert pixel_options(file) == {"image_mean": [0.5, 0.2, 1.0], "image_std": [0.2, 0.2, 0.2]}
    trunk = build_backbone(tiny)
    load_state(trunk, {f"backbone.{k}": v for k, v in own.state_dict().items()}, "own")
    assert trunk.layer4[0].conv3.weight.equal(state["layer4.0.conv3.weight"])
    with pytest.raises(
        WeightsError, match=f"the file holds {tiny}; the network is resnext26_32x4d"
    ):
        load_weights(resnext_fpn("resnext26_32x4d").body, file)


def test_weights_for_bgr_pixels_are_named(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(1)}, file, metadata=BGR.to_metadata())
    with pytest.raises(WeightsError, match=r"expect BGR pixels.*\[\[2, 1, 0\]\].*0.40"):
        pixel_options(file)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnext_fpn("resnext51"), "no variant 'resnext51'"),
        (lambda: resnext_fpn(NAME, trainable_layers=6), "trainable_layers .* from 0 to 5, got 6"),
        (lambda: resnext_fpn(NAME, returned_layers=[0, 1]), r"returned_layers .* got \[0, 1\]"),
        (lambda: resnext_fpn(NAME, frozen_stages=1), "frozen_stages .* trainable_layers settles"),
        (lambda: resnext_fpn(NAME, blocks=(1,)), "blocks cannot be given beside the variant"),
        (lambda: resnext_fpn(NAME, norm="LN"), "norm must be one of"),
        (lambda: deeplabv3(NAME, output_stride=32), "output_stride must be one of 8, 16, got 32"),
        (lambda: fcn(NAME, strides=(1, 1, 1, 1)), "strides .* output_stride settles"),
        (lambda: fcn("resnext29_8x64d"), "name must be a network of 4 stages"),
    ],
)
def test_bad_arguments_are_named(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build()
