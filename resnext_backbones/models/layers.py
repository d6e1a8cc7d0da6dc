"""What a trunk is made of: the kinds of convolution, norm and plugin, by name or by factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm

Conv = Callable[..., nn.Module]
"""Called as `torch.nn.Conv2d` is: channels in, channels out, kernel size, and keywords."""

Norm = Callable[[int], nn.Module]
"""Called with the number of channels."""

NORMS: dict[str, Norm] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": SyncBatchNorm,
    "GN": partial(nn.GroupNorm, 32),
    "FrozenBN": FrozenBatchNorm2d,
}
"""The norms that can be asked for by name; GN has the 32 groups of Wu and He (2018), Table 3."""


NORM_NAMES: dict[type[nn.Module], str] = {
    nn.GroupNorm: "gn",
    nn.InstanceNorm2d: "in",
    nn.LayerNorm: "ln",
}
"""Norms that are not called `bn` in a state dict."""


@dataclass(frozen=True)
class Plugin:
    """A module that a block runs behind one of its convolutions.

    Attributes:
        after: 1, 2 or 3, the convolution whose normalised output it takes.
        build: given the number of channels, returns the name under which the block registers
            the module, and the module. It must keep the shape.
    """

    after: int
    build: Callable[[int], tuple[str, nn.Module]]

    def __post_init__(self) -> None:
        if self.after not in (1, 2, 3):
            raise ValueError(f"after must be 1, 2 or 3 (a convolution of the block): {self.after}")


@dataclass(frozen=True)
class Layers:
    """The factories that one stage builds its blocks from.

    Attributes:
        conv: every convolution of the stage but the 3x3 one.
        conv3x3: the grouped 3x3 convolution of each block.
        norm: every norm of the stage.
        norm_name: what the norms are called in the state dict, in front of their number.
        plugins: what every block of the stage runs besides.
        fold_norm: fold norms with frozen statistics into the convolutions.
    """

    conv: Conv
    conv3x3: Conv
    norm: Norm
    norm_name: str
    plugins: tuple[Plugin, ...] = ()
    fold_norm: bool = True


def norm_factory(norm: str | Norm) -> Norm:
    """The factory behind a name of `NORMS`; a factory is returned as it is.

    Raises:
        ValueError: `norm` is neither a known name nor callable.
    """
    if callable(norm):
        return norm
    if not isinstance(norm, str) or norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)} or a callable, got {norm!r}")
    return NORMS[norm]


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """`norm(channels)`, with an error that names the argument and the number of channels.

    Raises:
        ValueError: the norm cannot be built for that many channels, as a GroupNorm whose groups
            do not divide them.
    """
    try:
        return norm(channels)
    except (ValueError, AssertionError) as error:
        raise ValueError(
            f"norm cannot be built for a layer of {channels} channels: {error}"
        ) from error


def norm_name_of(norm: nn.Module) -> str:
    """The name of a norm in the state dict, in front of its number: as in MMDetection."""
    return next((name for kind, name in NORM_NAMES.items() if isinstance(norm, kind)), "bn")
