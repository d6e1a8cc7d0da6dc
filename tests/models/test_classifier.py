"""The classifier against torchvision's."""

import pytest
import torch
import torchvision
from helpers import drawn, randomise, relative_error

from resnext_backbones import ResNeXtClassifier, build_classifier


def test_same_logits_as_torchvision_from_its_own_state_dict() -> None:
    peer = randomise(torchvision.models.resnext50_32x4d()).eval()
    own = build_classifier("resnext50_32x4d").eval()
    own.load_state_dict(peer.state_dict())
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        assert relative_error(own(images), peer(images)) <= 1e-5


def test_head_takes_the_last_stage() -> None:
    model = drawn(ResNeXtClassifier, num_classes=7, blocks=(1, 1, 1))
    assert model.fc.in_features == 256
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("options", [{"num_classes": 0}, {"out_indices": (1,)}])
def test_wrong_arguments_are_named(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        drawn(ResNeXtClassifier, **options)
