"""Whole detectors and segmentation networks, against torchvision's own."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from helpers import randomise, relative_error, shapes
from torch import Tensor, nn
from torchvision import io
from torchvision.models import detection
from torchvision.models._utils import IntermediateLayerGetter
from torchvision_peers import DETECTORS, PEER, SEGMENTATION, SMALL, p6p7, peer_trunk

from resnext_backbones.adapters.torchvision import deeplabv3, resnext_fpn


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


@pytest.fixture
def tiny_peers(tiny: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the same network here; torchvision's builders take theirs for ResNet-50."""
    for builder in [row[0] for row in (*DETECTORS.values(), *SEGMENTATION.values())]:
        monkeypatch.setitem(inspect.unwrap(builder).__globals__, "resnet50", peer_trunk)
    return tiny


@pytest.mark.parametrize("name", DETECTORS)
def test_names_are_torchvisions(name: str) -> None:
    """Whole detectors with a real ResNet-50 are built."""
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
