"""Operations of a training step, and hours of 8 GPUs."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from benchmarks import cost


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize(("frozen", "products"), [(False, 3), (True, 2)])
def test_gradients_are_products_like_the_outputs(
    kind: type[nn.Module], frozen: bool, products: int
) -> None:
    """By groups too: PyTorch's own formula counts those of a weight's gradient once each."""
    layer = kind(16, 32, 3, groups=4, bias=False)
    layer.weight.requires_grad_(not frozen)
    images = torch.randn(2, 16, 8, 8, requires_grad=True)
    formulas = {torch.ops.aten.convolution_backward: cost._of_gradients}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        output = layer(images)
        output.sum().backward()
    places = images if kind is nn.ConvTranspose2d else output
    own = 2 * places.numel() * layer.weight[0].numel()
    assert counter.get_total_flops() == products * own


def test_hours_are_operations_over_rates() -> None:
    measured = json.loads(cost.MEASURED.read_text())
    assert measured["setting"]["variant"] == "resnext101_32x4d"
    assert measured["setting"]["task"] == "mask_rcnn"
    assert cost.hours_of(seen=8 * 3600, operations=10.0, rate=2.0) == 5.0
