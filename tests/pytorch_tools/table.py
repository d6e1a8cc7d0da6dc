"""Keeps the tools in a table, and gives them networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from resnext_backbones import Architecture, ResNeXtClassifier

TOOLS: dict[str, Callable[[Any, Tensor], Any]] = {}
"""By the words of docs/pytorch_tools.md: from a network and images to what is compared."""


def tool(name: str) -> Callable[[Callable], Callable]:
    return lambda function: TOOLS.setdefault(name, function)


def gradients(network: nn.Module, loss: Tensor | None = None, images: Any = None) -> list[Tensor]:
    """Those of all parameters, by their names without what a tool puts before and into them."""
    (network(images).square().mean() if loss is None else loss).backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return [found[name] for name in sorted(found)]


def tiny() -> tuple[nn.Module, nn.Module]:
    """This package's network, and torchvision's."""
    architecture = Architecture(blocks=(1, 1, 1, 1), cardinality=4, base_width=4)
    options = {"groups": 4, "width_per_group": 4, "num_classes": 10}
    return ResNeXtClassifier(architecture, num_classes=10), ResNet(
        Bottleneck, [1, 1, 1, 1], **options
    )
