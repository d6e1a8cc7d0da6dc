"""The trunk with torchvision's pyramid, against torchvision's own; its arguments and weights."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import randomise, relative_error
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNeXt50_32X4D_Weights
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import (
    _resnet_fpn_extractor,
    resnet_fpn_backbone,
)
from torchvision.ops import FrozenBatchNorm2d
from torchvision_peers import SEGMENTATION, peer_trunk

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
