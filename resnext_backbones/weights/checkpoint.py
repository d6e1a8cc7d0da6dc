"""What a file holds of a trunk: found in what is around it, and by this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.formats import FORMATS, recognise
from resnext_backbones.weights.identify import network_name

WRAPPERS = {
    "state_dict_ema": True,
    "model_ema": True,
    "state_dict": False,
    "model": False,
    "model_state_dict": False,
    "blobs": False,
}
"""Keys under which training programs put the weights, and whether these are averaged ones, which
are what one wants where a file has both."""

MOST_WRAPPERS = 4
"""How deep they may nest: a crafted file can hold a mapping that contains itself."""

NORM = re.compile(r"(bn\d|(?:layer\d\.\d+\.)(?:bn\d|downsample\.1))\.weight")

EPS = 1e-5
"""Of all batch norms here. A variance of 1 - EPS makes one that only scales and shifts."""


@dataclass(frozen=True)
class Checkpoint:
    """A trunk's tensors, with a head or without.

    Attributes:
        state: by this package's names.
        family: a key of `FORMATS`; "" where no trunk was found.
        outside: names of tensors beside the trunk: a detector's rest, counters of an optimiser.
        unknown: names of tensors that look like a trunk's and have no counterpart here.
        averaged: whether these are the averaged weights of a training run.
        fused: whether the norms only scale and shift: their statistics are in the affine part.
    """

    state: dict[str, Tensor]
    family: str
    outside: tuple[str, ...]
    unknown: tuple[str, ...]
    averaged: bool
    fused: bool

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Checkpoint:
        """Find the trunk in what a file holds."""
        averaged = False
        for _ in range(MOST_WRAPPERS):
            wrappers = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
            if not wrappers:
                break
            averaged |= WRAPPERS[wrappers[0]]
            content = content[wrappers[0]]
        tensors = {
            key: value
            for key, value in content.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
        family, prefix = recognise(tensors)
        if not family:
            return cls({}, "", tuple(sorted(tensors)), (), averaged, False)
        format_ = FORMATS[family]
        # Detectron2 calls all norms alike; those over a batch have statistics.
        inside = (key for key in tensors if key.startswith(prefix))
        kind = "bn" if any(key.endswith(".running_mean") for key in inside) else "gn"
        state, outside, unknown = {}, [], []
        for key, tensor in tensors.items():
            name = key.removeprefix(prefix)
            own = format_.to_own(name, kind) if key.startswith(prefix) else None
            if own is not None:
                state[own] = tensor
            elif not key.startswith(prefix) or _is_beside(name, tensor, family):
                outside.append(key)
            else:
                unknown.append(key)
        fused = _are_fused(state, restore=format_.fuses_norms)
        return cls(state, family, tuple(sorted(outside)), tuple(sorted(unknown)), averaged, fused)

    @property
    def variant(self) -> str:
        """The network that the shapes belong to; "" if it is none."""
        return network_name(self.state)


def _is_beside(name: str, tensor: Tensor, family: str) -> bool:
    """Whether a tensor is not the trunk's, or a bias that does nothing."""
    format_ = FORMATS[family]
    return (
        not name.startswith(format_.trunk)
        or re.fullmatch(format_.junk, name) is not None
        or (tensor.dim() == 1 and not tensor.any())
    )


def _are_fused(state: dict[str, Tensor], *, restore: bool) -> bool:
    """Whether the norms only scale and shift.

    Args:
        restore: give norms that come without statistics those that change nothing.
    """
    norms = [found[1] for key in state if (found := NORM.fullmatch(key))]
    norms = [norm for norm in norms if state[f"{norm}.weight"].dim() == 1]
    absent = [norm for norm in norms if f"{norm}.running_mean" not in state]
    if restore and len(absent) == len(norms):
        for norm in norms:
            scale = state[f"{norm}.weight"]
            state[f"{norm}.running_mean"] = torch.zeros_like(scale)
            state[f"{norm}.running_var"] = torch.full_like(scale, 1 - EPS)
        return bool(norms)
    variances = (state.get(f"{norm}.running_var") for norm in norms)
    return bool(norms) and not any(v is None or (v != 1 - EPS).any() for v in variances)
