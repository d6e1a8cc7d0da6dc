"""The widths of a RegNet lie on a line, which a few numbers describe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.options import check_positive, require

STEM_CHANNELS = 32
STEP = 8
"""Widths of blocks are multiples of it."""


def nearest(width: float, group: int) -> int:
    """Returns the multiple of a group's width that is nearest, as pycls, timm and MMDetection."""
    return round(width / group) * group


def nine_tenths(width: float, group: int) -> int:
    """Returns the same by torchvision's rule: halves go up, and nothing loses more than a tenth."""
    rounded = int(width + group / 2) // group * group
    return rounded + group if rounded < 0.9 * width else rounded


def regnet(
    *,
    depth: int,
    w_0: int,
    w_a: float,
    w_m: float,
    group_width: int,
    bottleneck: float = 1,
    fit: Callable[[float, int], int] = nearest,
    attention: str = "",
) -> Architecture:
    """Returns a RegNet: Radosavovic et al. (CVPR 2020), section 3.3, equations 2 to 4.

    Block j should have the width w_0 + w_a j, and has the nearest w_0 w_m^k of a whole k, as a
    multiple of 8. Blocks of one width are a stage.

    Args:
        depth: blocks of all stages.
        w_0, w_a, w_m: the first width, the slope, and the step from a stage to the next.
        group_width: channels a group of all 3x3 convolutions; a narrower stage is one group.
        bottleneck: width of the 3x3 convolutions over that of the output; `bot_mul` in others.
        fit: makes a width one of whole groups.
        attention: of `parts.attention.ATTENTION`, behind the 3x3 convolution.

    Raises:
        ValueError: a number is out of its range; the stages are more than four, or would have no
            common ratio of widths, which no published RegNet lacks.
    """
    check_positive(depth=depth, w_0=w_0, group_width=group_width)
    require(w_0 % STEP == 0, "w_0", f"a multiple of {STEP}", w_0)
    require(w_a >= 0, "w_a", "at least 0", w_a)
    require(w_m > 1, "w_m", "above 1", w_m)
    require(bottleneck > 0, "bottleneck", "above 0", bottleneck)
    steps = (round(math.log(1 + w_a * j / w_0) / math.log(w_m)) for j in range(depth))
    blocks = Counter(round(w_0 * w_m**k / STEP) * STEP for k in steps)  # in order, as k grows
    inner = [max(1, int(width * bottleneck)) for width in blocks]
    inner = [fit(width, min(group_width, width)) for width in inner]
    groups = [max(1, width // group_width) for width in inner]
    return Architecture(
        blocks=tuple(blocks.values()),
        cardinality=groups[0],
        base_width=inner[0] // groups[0],
        stage_channels=tuple(int(width / bottleneck) for width in inner),
        stage_groups=groups,
        stem="3x3/2",
        stem_channels=STEM_CHANNELS,
        attention=attention,
        attention_after=2 if attention else 3,
    )
