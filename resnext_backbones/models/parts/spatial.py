"""Blocks may have another part in the place of a 3x3 convolution, its norm and its activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from resnext_backbones.models.parts.selective_kernel import SelectiveKernel
from resnext_backbones.models.parts.self_attention import self_attention_at

Build = Callable[..., nn.Module]
"""Called with the channels and the factories of layers, and by their names with `groups`, `stride`
and `dilation` of the convolution."""

SPATIAL: dict[str, Callable[[int, int], Build | None]] = {
    "SK": lambda *_: SelectiveKernel,
    "BoT": self_attention_at,
}
"""Each is called with a stage and a block, both from 0, and returns what builds the part, or
None where a block has its convolution. In networks without such a part the name is ""."""

ATTEND = {"BoT"}
"""Blocks with these have no other attention."""
