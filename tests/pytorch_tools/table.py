"""Keeps the tools in a table, and gives them networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import SqueezeExcitation

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


SMALL = Architecture(blocks=(1, 1, 1, 1), cardinality=4, base_width=4)
OPTIONS = {"groups": 4, "width_per_group": 4, "num_classes": 10}


def tiny() -> tuple[nn.Module, nn.Module]:
    """This package's network, and torchvision's."""
    return ResNeXtClassifier(SMALL, num_classes=10), ResNet(Bottleneck, [1, 1, 1, 1], **OPTIONS)


class Attended(Bottleneck):
    """Torchvision's block with SiLU, and attention behind its 3x3 convolution."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.relu = nn.SiLU(inplace=True)
        self.attn = SqueezeExcitation(self.conv2.out_channels, 8)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.attn(self.relu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def silu() -> tuple[nn.Module, nn.Module]:
    """The same with SiLU and attention, of which the backward pass computes something again."""
    own = replace(SMALL, activation="SiLU", attention="SE", attention_after=2)
    peer = ResNet(Attended, [1, 1, 1, 1], **OPTIONS)
    peer.relu = nn.SiLU(inplace=True)
    return ResNeXtClassifier(own, num_classes=10), peer
