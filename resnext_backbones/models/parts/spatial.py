"""Blocks may have another part in the place of their grouped 3x3 convolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from resnext_backbones.models.parts.selective_kernel import SelectiveKernel


@dataclass(frozen=True)
class Spatial:
    """Describes a part in the place of a 3x3 convolution, its norm and its activation.

    Attributes:
        build: called with the channels and the factories of layers, and by their names with
            `groups`, `stride` and `dilation` of the convolution in whose place it is.
        stands: called with a stage and a block, both from 0, says whether it stands there.
    """

    build: Callable[..., nn.Module]
    stands: Callable[[int, int], bool]


SPATIAL: dict[str, Spatial] = {
    "SK": Spatial(SelectiveKernel, lambda stage, block: True),  # noqa: ARG005
}
"""In networks without such a part the name is ""."""


def spatial_at(kind: str, stage: int, block: int) -> Callable[..., nn.Module] | None:
    """Returns what builds the part of a block; None where it has its 3x3 convolution."""
    if kind and SPATIAL[kind].stands(stage, block):
        return SPATIAL[kind].build
    return None
