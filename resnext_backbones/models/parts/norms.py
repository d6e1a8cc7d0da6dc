"""Norms have names to ask for them by, and others in a state dict."""

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


class Norms:
    """Builds the norms of a network, each for a number of channels.

    Args:
        norm: a name of `NORMS`, or another factory.
        channels: of the first norm, which shows what they are.

    Attributes:
        name: what they are called in the state dict, in front of their number: as in MMDetection.
        kind: of `NORM_KINDS`; norms of other kinds count as batch norms.

    Raises:
        ValueError: `norm` is neither a known name nor callable; or, also when it is called, there
            is no such norm for that many channels, as where groups do not divide them.
    """

    def __init__(self, norm: str | Norm, channels: int) -> None:
        if not callable(norm):
            check_one_of("norm", norm, NORMS, "or a callable")
            norm = NORMS[norm]
        self._build = norm
        first = self(channels)
        self.name = next((n for kind, n in NORM_NAMES.items() if isinstance(first, kind)), "bn")
        self.kind = "group" if isinstance(first, nn.GroupNorm) else "batch"

    def __call__(self, channels: int) -> nn.Module:
        try:
            return self._build(channels)
        except (ValueError, AssertionError) as error:
            raise ValueError(
                f"norm cannot be built for a layer of {channels} channels: {error}; give one that "
                "all layers have, such as a batch norm, or fewer groups"
            ) from error
