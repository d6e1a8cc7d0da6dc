"""The norms by name, and what they are called in a state dict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.models.options import check_one_of

Norm = Callable[[int], nn.Module]
"""Called with the number of channels."""

NORMS: dict[str, Norm] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": SyncBatchNorm,
    "GN": partial(nn.GroupNorm, 32),
    "FrozenBN": FrozenBatchNorm2d,
}
"""The norms that can be asked for by name; GN has the 32 groups of Wu and He (2018), Table 3."""

NORM_KINDS = {"batch": "BN", "group": "GN"}
"""The kinds that share weights, and the norm of each that a network has if it is not told."""

NORM_NAMES: dict[type[nn.Module], str] = {
    nn.GroupNorm: "gn",
    nn.InstanceNorm2d: "in",
    nn.LayerNorm: "ln",
}
"""Norms that are not called `bn` in a state dict."""


def norm_factory(norm: str | Norm) -> Norm:
    """Returns the factory behind a name of `NORMS`; a factory is returned as it is.

    Raises:
        ValueError: `norm` is neither a known name nor callable.
    """
    if not callable(norm):
        check_one_of("norm", norm, NORMS, "or a callable")
        return NORMS[norm]
    return norm


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Returns `norm(channels)`, with an error that names the argument and the channels.

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
    """Returns a norm's name in the state dict, in front of its number: as in MMDetection."""
    return next((name for kind, name in NORM_NAMES.items() if isinstance(norm, kind)), "bn")


def kind_of(norm: nn.Module) -> str:
    """Returns the kind of a norm, of `NORM_KINDS`; norms of other kinds count as batch norms."""
    return "group" if isinstance(norm, nn.GroupNorm) else "batch"
