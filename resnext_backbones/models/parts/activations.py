"""Activations have names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": partial(nn.ReLU, inplace=True),
    "SiLU": partial(nn.SiLU, inplace=True),
}
