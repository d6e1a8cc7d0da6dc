"""Fits the first convolution of weights to images of another number of channels."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.options import check_one_of
from resnext_backbones.models.parts.convolutions import PLAIN
from resnext_backbones.weights.errors import WeightsError

REPEAT, ZEROS = "repeat", "zeros"

ADAPT_INPUT = (REPEAT, ZEROS)
"""Values of `adapt_input` where weights are loaded; n is the number of the network's channels.

- `repeat` is timm's rule: the channels again and again, in the order that they have, n of them and
  scaled by 3 / n, so that the sum of a filter stays. One channel gets their sum: then grey images
  give what their three equal channels would.
- `zeros` keeps the channels as they are, and starts at zero for further ones, whatever these hold:
  at first the network does what it did.
"""

FIRST = ("conv1.weight", "stem.0.weight")
"""A stem's first convolution is called so."""


def input_channels(state: Mapping[str, Tensor]) -> int | None:
    """Returns the channels of the images that weights are for; None where it is not seen."""
    found = (state[name] for name in FIRST if name in state)
    return next((weight.shape[1] for weight in found if weight.dim() == 4), None)


def other_input(state: Mapping[str, Tensor], channels: int) -> str:
    """Returns what to do about weights for images of other channels than a network's, as a sentence
    for a message with a space behind it; "" where they are not.
    """
    held = input_channels(state)
    ways = " or ".join(f"adapt_input={how!r}" for how in ADAPT_INPUT)
    differ = held not in (None, channels)
    images = f"It is for images of {held} channels, and the network for {channels}"
    return f"{images}: {ways} fits its first convolution. " if differ else ""


def adapted(
    state: Mapping[str, Tensor], network: Architecture, how: str, source: object
) -> dict[str, Tensor]:
    """Returns weights whose first convolution takes images of a network's channels.

    Args:
        how: of `ADAPT_INPUT`; it does nothing where the channels are as many already.
        source: names the weights in a message.

    Raises:
        ValueError: `how` is none of these.
        WeightsError: `zeros` for fewer channels than there are; or the network's convolutions are
            not plain: standardised, for one, they undo the scale, and fill the zeros.
    """
    check_one_of("adapt_input", how, ADAPT_INPUT)
    fitted, held, channels = dict(state), input_channels(state), network.in_channels
    if held is None or held == channels:
        return fitted
    if not network.convolution.startswith(PLAIN) or " and " in network.convolution:
        raise WeightsError(
            f"weights {source}: are for images of {held} channels, and adapt_input={how!r} cannot "
            f"fit them to the network's {channels}: its convolutions are {network.convolution}, "
            "and of other channels they make other filters. Nothing was loaded."
        )
    if how == ZEROS and channels < held:
        raise WeightsError(
            f"weights {source}: are for images of {held} channels, and adapt_input={ZEROS!r} would "
            f"leave out {held - channels} of them for the network's {channels}; take {REPEAT!r}"
        )
    name = next(name for name in FIRST if name in state)
    fitted[name] = (_repeated if how == REPEAT else _extended)(state[name], channels)
    return fitted


def _repeated(weight: Tensor, channels: int) -> Tensor:
    precise = torch.promote_types(weight.dtype, torch.float32)  # float16 is not summed on all CPUs
    values, held = weight.to(precise), weight.shape[1]
    if channels == 1:
        return values.sum(1, keepdim=True).to(weight.dtype)
    values = values.repeat(1, ceil(channels / held), 1, 1)[:, :channels]
    return (values * (held / channels)).to(weight.dtype)


def _extended(weight: Tensor, channels: int) -> Tensor:
    shape = (weight.shape[0], channels - weight.shape[1], *weight.shape[2:])
    return torch.cat((weight, weight.new_zeros(shape)), 1)
