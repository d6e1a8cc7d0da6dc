"""Norms have names to ask for them by, and others in a state dict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.models.options import check_one_of, require

Norm = Callable[[int], nn.Module]
"""Called with the number of channels."""

USUAL_EPS, USUAL_GROUPS = 1e-5, 32
"""PyTorch's, and those of Wu and He (2018), Table 3."""


def _group_norm(channels: int, *, eps: float, groups: int) -> nn.Module:
    return nn.GroupNorm(groups, channels, eps)


NORMS: dict[str, Callable[..., nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": SyncBatchNorm,
    "GN": _group_norm,
    "FrozenBN": FrozenBatchNorm2d,
}
"""The norms that can be asked for by name. Called with the channels and `eps`, and group norms with
`groups`."""

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
        eps, groups: of norms that are asked for by name.

    Attributes:
        name: what they are called in the state dict, in front of their number: as in MMDetection.
        kind: of `NORM_KINDS`; norms of other kinds count as batch norms.

    Raises:
        ValueError: `norm` is neither a known name nor callable; a norm by name has several values
            of `eps` or `groups`; or, also when it is called, there is no such norm for that many
            channels, as where groups do not divide them.
    """

    def __init__(
        self,
        norm: str | Norm,
        channels: int,
        *,
        eps: Any = USUAL_EPS,
        groups: Any = USUAL_GROUPS,
    ) -> None:
        if not callable(norm):
            check_one_of("norm", norm, NORMS, "or a callable")
            options = {"eps": eps, "groups": groups} if norm == "GN" else {"eps": eps}
            for name, value in options.items():
                one = not isinstance(value, tuple)
                require(one, f"{name} of norms by name", "one for all layers", value)
            norm = partial(NORMS[norm], **options)
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


def values_of(layers: Iterable[nn.Module]) -> dict[str, list[Any]]:
    """Returns all values of norms that change what they compute and show in no tensor, by the names
    that an `Architecture` has for them; nothing where there are no such norms.
    """
    found: dict[str, set[Any]] = {"eps": set(), "norm_groups": set()}
    for layer in layers:
        eps = None if isinstance(layer, nn.Conv2d) else getattr(layer, "eps", None)
        if isinstance(eps, int | float):
            found["eps"].add(float(eps))
        if isinstance(layer, nn.GroupNorm):
            found["norm_groups"].add(layer.num_groups)
    return {name: sorted(values) for name, values in found.items() if values}
