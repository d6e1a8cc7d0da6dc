"""Floating point operations of a step, counted over the convolutions and the linear layer."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.job import TASKS, Setting


@cache
def step_flops(setting: Setting, contestant: str) -> int | None:
    """Returns a turn's, two for each multiply-add, forward and, where it trains, backward.

    The backward pass has one such product for a weight's gradient, and one for the input's where
    something in front is trained. How an implementation computes it makes no difference here.
    A whole detector is not counted: None.
    """
    # All contestants but ResNet have the same layers.
    peer = "resnet" if contestant == "resnet" else OWN
    task = TASKS[setting.task]
    if task.part == "mask_rcnn":
        return None
    with torch.device("meta"):
        module = task.build(CONTESTANTS[peer], setting.variant)
    assert module is not None
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        products = 1
        if task.training:
            products += weight.requires_grad + inputs[0].requires_grad
        total += 2 * products * output.numel() * weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    for height, width in setting.sizes:
        module(torch.empty(setting.batch, 3, height, width, device="meta"))
    return total
