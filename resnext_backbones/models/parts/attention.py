"""The attention modules by name; each keeps the shape of what it is given."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.ops import SqueezeExcitation

NAMES = {2: "attn", 3: "se"}
"""What attention is called in a block, by the convolution that it stands behind: as timm has it."""


def squeeze_excitation(channels: int) -> nn.Module:
    """Squeeze-and-excitation, Hu et al. (2018), section 3.

    The reduced width is a sixteenth, rounded to the nearest multiple of 8, as timm has it.
    """
    return SqueezeExcitation(channels, max(8, int(channels / 16 + 4) // 8 * 8))


ATTENTION: dict[str, Callable[[int], nn.Module]] = {"SE": squeeze_excitation}
"""Each is called with the number of channels."""
