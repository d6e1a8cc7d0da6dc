"""Blocks are built from layers and plugins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from resnext_backbones.compute.steps import Steps
from resnext_backbones.models.parts.norms import Norms

Conv = Callable[..., nn.Module]
"""Called as `torch.nn.Conv2d` is: channels in, channels out, kernel size, and keywords."""


@dataclass(frozen=True)
class Plugin:
    """Describes a module that a block runs behind one of its convolutions.

    Attributes:
        after: 1, 2 or 3, the convolution whose normalised output it takes.
        build: given the number of channels, returns the module's name in the block, and the
            module. It must keep the shape.
        required: whether weights of the network have its tensors, as those of an attention do.
        again: whether the backward pass computes again what the module keeps and what it returns.
    """

    after: int
    build: Callable[[int], tuple[str, nn.Module]]
    required: bool = False
    again: bool = False

    def __post_init__(self) -> None:
        if self.after not in (1, 2, 3):
            raise ValueError(f"after must be 1, 2 or 3 (a convolution of the block): {self.after}")


@dataclass(frozen=True)
class Layers:
    """Holds the factories of all convolutions, which have no bias, of all norms and activations.

    `fold_norm` folds norms with frozen statistics into the convolutions.
    """

    conv: Conv
    norm: Norms
    activation: Callable[[], nn.Module]
    fold_norm: bool

    def step(
        self,
        in_channels: int,
        channels: int,
        size: int,
        *,
        activation: nn.Module | None = None,
        **geometry: Any,
    ) -> Steps:
        """Returns a convolution, its norm, and an activation if there is one, by timm's names."""
        found = Steps(fold=self.fold_norm)
        found.conv = self.conv(in_channels, channels, size, **geometry)
        setattr(found, self.norm.name, self.norm(channels))
        if activation is not None:
            found.act = activation
        return found
