"""The deformable convolution, against a plain one and mmcv's."""

from __future__ import annotations

import pytest
import torch
from helpers import randomise, relative_error
from torch import nn

from resnext_backbones.models.parts.deformable import DeformConv

GEOMETRY = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2, "bias": True}


@pytest.mark.parametrize("modulated", [False, True])
def test_it_starts_as_a_plain_convolution(modulated: bool) -> None:
    conv = DeformConv(8, 12, 3, modulated=modulated, deform_groups=4, **GEOMETRY)
    plain = nn.Conv2d(8, 12, 3, **GEOMETRY)
    with torch.no_grad():
        plain.weight.copy_(conv.weight)
        plain.bias.copy_(conv.bias)
    x = torch.randn(2, 8, 9, 11)
    strength = 0.5 if modulated else 1  # the sigmoid of zero
    assert relative_error(conv(x), strength * plain(x)) <= 1e-5


@pytest.mark.parametrize("deform_groups", [1, 2])
@pytest.mark.parametrize(("name", "modulated"), [("DCN", False), ("DCNv2", True)])
def test_same_as_mmcvs(name: str, modulated: bool, deform_groups: int) -> None:
    pytest.importorskip("mmcv.ops", reason="mmcv has no operators")
    from mmcv.cnn import build_conv_layer

    geometry = GEOMETRY | {"bias": False}
    peer = build_conv_layer({"type": name, "deform_groups": deform_groups}, 8, 12, 3, **geometry)
    own = DeformConv(8, 12, 3, modulated=modulated, deform_groups=deform_groups, **geometry)
    randomise(peer)
    with torch.no_grad():
        peer.conv_offset.weight.mul_(20)  # offsets of whole pixels, and outside the image
    own.load_state_dict(peer.state_dict())
    x = torch.randn(2, 8, 9, 11)
    assert relative_error(own(x), peer(x)) <= 1e-5


def test_half_precision_and_gradients() -> None:
    conv = randomise(DeformConv(8, 8, 3, padding=1, modulated=True))
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    assert relative_error(y, conv(x)) <= 0.05
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in conv.parameters())


@pytest.mark.parametrize("name", ["groups", "deform_groups"])
def test_groups_divide_the_channels(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must divide 8 channels, got 3"):
        DeformConv(8, 12, 3, **{name: 3})
