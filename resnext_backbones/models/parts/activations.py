"""Activations have names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": partial(nn.ReLU, inplace=True),
    "LeakyReLU": partial(nn.LeakyReLU, inplace=True),  # with a slope of 0.01
    "SiLU": partial(nn.SiLU, inplace=True),
}
