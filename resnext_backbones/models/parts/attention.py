"""Attention modules have names; each keeps the shape of what it is given."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.ops import SqueezeExcitation

from resnext_backbones.models.layers import Layers, Plugin
from resnext_backbones.models.options import building
from resnext_backbones.models.parts.bilinear import BilinearAttention
from resnext_backbones.models.parts.channel_attention import ChannelAttention
from resnext_backbones.models.parts.global_context import GlobalContext

NAMES = {2: "attn", 3: "se"}
"""What attention is called in a block, by the convolution that it stands behind: as timm has it."""


def squeeze_excitation(channels: int) -> nn.Module:
    """Returns squeeze-and-excitation, Hu et al. (2018), section 3.

    The reduced width is a sixteenth, rounded to the nearest multiple of 8, as timm has it.
    """
    return SqueezeExcitation(channels, max(8, int(channels / 16 + 4) // 8 * 8))


ATTENTION: dict[str, Callable[[int, Layers, int], nn.Module]] = {
    "SE": lambda channels, *_: squeeze_excitation(channels),
    # Reduced to a quarter of the block's input: Radosavovic et al. (2020), section 5, as pycls.
    "SE4": lambda channels, _, inputs: SqueezeExcitation(channels, round(inputs / 4)),
    "ECA": lambda channels, *_: ChannelAttention(channels),
    "GC": lambda channels, *_: GlobalContext(channels),
    "BAT": lambda channels, layers, _: BilinearAttention(channels, layers),
}
"""Each is called with the number of channels, the factories of the network's layers, and the
channels of the block's input."""

KEEP = {"BAT"}
"""These keep more for the backward pass than their input."""


def attention_plugins(kind: str, after: int, layers: Layers, inputs: int) -> list[Plugin]:
    """Returns what a block with attention runs behind its convolution `after`; "" is none."""
    if not kind:
        return []
    name, attention = NAMES[after], ATTENTION[kind]

    def build(channels: int) -> tuple[str, nn.Module]:
        with building(f"the attention {kind!r} of {channels} channels"):
            return name, attention(channels, layers, inputs)

    # Behind the third convolution nobody keeps what it returns.
    again = after != 3 or kind in KEEP
    return [Plugin(after, build, True, again)]
