"""Pooling makes maps smaller, in stems and, in a stride's place, in blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn


def average(size: int) -> nn.Module:
    """Returns the average of squares, those at the edge of an odd map being smaller."""
    return nn.AvgPool2d(size, size, ceil_mode=True, count_include_pad=False)


@dataclass(frozen=True)
class Pooling:
    """Describes how a network pools.

    Attributes:
        in_stem: builds what stands behind a stem's convolutions, of stride 2.
        in_blocks: called with the stride of a block's 3x3 convolution, builds what strides in its
            place, behind its activation; None where it strides itself.
    """

    in_stem: Callable[[], nn.Module]
    in_blocks: Callable[[int], nn.Module] | None = None


POOLINGS: dict[str, Pooling] = {
    "max": Pooling(partial(nn.MaxPool2d, 3, stride=2, padding=1)),  # He et al. (2016), Table 1
    "ceil": Pooling(partial(nn.MaxPool2d, 3, stride=2, ceil_mode=True)),  # Hu et al. (2018)
    "average": Pooling(partial(average, 2), average),  # against aliasing: timm's `aa`
}
