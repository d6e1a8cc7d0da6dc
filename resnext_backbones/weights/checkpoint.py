"""Finds the trunk in what a file holds, by this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.formats import FORMATS, family_and_prefix
from resnext_backbones.weights.identify import network_name

WRAPPERS = {
    "state_dict_ema": True,
    "model_ema": True,
    "state_dict": False,
    "model": False,
    "model_state_dict": False,
    "blobs": False,
}
"""Training programs put the weights under these keys. True are averaged ones, which are what one
wants where a file has both."""

MOST_WRAPPERS = 4
"""They nest no deeper; a crafted file can hold a mapping that contains itself."""

NORM = re.compile(r"(bn\d|(?:layer\d\.\d+\.)(?:bn\d|downsample\.1))\.weight")

EPS = 1e-5
"""All batch norms here have it. With a variance of 1 - EPS one only scales and shifts."""


@dataclass(frozen=True)
class Checkpoint:
    """Holds a trunk's tensors, with a head or without.

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
        """Returns the trunk in what a file holds."""
        averaged = False
        for _ in range(MOST_WRAPPERS):
            wrapper = next((k for k in WRAPPERS if isinstance(content.get(k), Mapping)), None)
            if wrapper is None:
                break
            averaged |= WRAPPERS[wrapper]
            content = content[wrapper]
        tensors = {
            key: value
            for key, value in content.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
        family, prefix = family_and_prefix(tensors)
        if not family:
            return cls({}, "", tuple(sorted(tensors)), (), averaged, False)
        format_ = FORMATS[family]
        inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        outside = [key for key in tensors if not key.startswith(prefix)]
        # Detectron2 calls all norms alike; those over a batch have statistics.
        kind = "bn" if any(name.endswith(".running_mean") for name in inside) else "gn"
        state, unknown = {}, []
        for name, tensor in inside.items():
            if (own := format_.to_own(name, kind)) is not None:
                state[own] = tensor
            elif (
                not name.startswith(format_.trunk)
                or re.fullmatch(format_.junk, name)
                or (tensor.dim() == 1 and not tensor.any())  # a bias that does nothing
            ):
                outside.append(prefix + name)
            else:
                unknown.append(prefix + name)
        fused = _are_fused(state, restore=format_.fuses_norms)
        return cls(state, family, tuple(sorted(outside)), tuple(sorted(unknown)), averaged, fused)

    @property
    def variant(self) -> str:
        """Returns the network that the shapes belong to; "" if it is none."""
        return network_name(self.state)


def _are_fused(state: dict[str, Tensor], *, restore: bool) -> bool:
    """Returns whether the norms only scale and shift; with `restore`, norms that have no statistics
    are given those that change nothing.
    """
    names = (found[1] for key in state if (found := NORM.fullmatch(key)))
    norms = {name: w for name in names if (w := state[f"{name}.weight"]).dim() == 1}
    if restore and not any(f"{name}.running_mean" in state for name in norms):
        for name, scale in norms.items():
            state[f"{name}.running_mean"] = torch.zeros_like(scale)
            state[f"{name}.running_var"] = torch.full_like(scale, 1 - EPS)
    variances = [state.get(f"{name}.running_var") for name in norms]
    return bool(norms) and not any(v is None or (v != 1 - EPS).any() for v in variances)
