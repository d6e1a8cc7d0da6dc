"""Holds the trunk of a file, by this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.find import (
    MOST_LISTED,
    Entry,
    Found,
    beginnings,
    behind,
    entries_of,
    find,
    is_averaged,
    said_of,
    same_tensors,
)
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.identify import identify, network_name

NORM = re.compile(r"(bn\d|(?:layer\d\.\d+\.)(?:bn\d|downsample\.1))\.weight")

EPS = 1e-5
"""All batch norms here have it. With a variance of 1 - EPS one only scales and shifts."""

MOST_DENSE = 2**29
"""All sparse tensors of a trunk have at most this many bytes, with the values that are zero."""


@dataclass(frozen=True)
class Checkpoint:
    """Holds a trunk's tensors, with a head or without.

    Attributes:
        state: by this package's names.
        family: a key of `FORMATS`; "" where no trunk was found.
        outside: names of tensors beside the trunk: a detector's rest, heads, queues.
        unknown: names of tensors that look like a trunk's and have no counterpart here.
        averaged: whether these are the averaged weights of a training run.
        fused: whether the norms only scale and shift: their statistics are in the affine part.
        prefix: what stands in front of the trunk's names in the file, keys around its state dict
            included.
        beginnings: what the names in a file without a trunk begin with.
        odd: this package's names of tensors without plain values, and what they are.
        said: the network that a state dict of this package says it is of, if it says it.
    """

    state: dict[str, Tensor]
    family: str
    outside: tuple[str, ...]
    unknown: tuple[str, ...]
    averaged: bool
    fused: bool
    prefix: str = ""
    beginnings: str = ""
    odd: dict[str, str] = field(default_factory=dict)
    said: Architecture | None = None

    @classmethod
    def of(cls, content: Mapping[Any, Any], *, prefix: str = "", source: object = "") -> Checkpoint:
        """Returns the trunk in what a file holds.

        It lies under any keys and behind any prefix. Of several that are alike the first is taken,
        and of a run's weights the averaged ones.

        Args:
            content: as `files.read_file` returns it.
            prefix: what the trunk's names begin with; its last dot may be missing, and so may what
                stands before it.
            source: names the file in messages.

        Raises WeightsError where no name has the prefix; where there are several trunks: it lists
        their prefixes; and where what it says of its network is no architecture.
        """
        entries, weights = entries_of(content), f"weights {source}: " if source else "weights: "
        try:
            places = find(content, entries, prefix)
        except KeyError:
            raise WeightsError(
                f"{weights}no name in it begins with {prefix!r}; they begin with "
                f"{beginnings(entries) or 'nothing, as there are none'}. Nothing was loaded."
            ) from None
        names = sorted(entries)
        held = [_held(place, entries, names) for place in places[: 2 * MOST_LISTED]]
        if len(held) > 1:
            held = [one for one in held if one.variant] or held
        first = held[0] if held else None
        if first is None:
            tensors = sorted(e.name for e in entries.values() if isinstance(e.value, Tensor))
            return cls({}, "", tuple(tensors), (), False, False, beginnings=beginnings(entries))
        if not all(same_tensors(first.state, one.state) for one in held[1:]):
            raise WeightsError(f"{weights}{_several(held)}")
        place = next(p for p in places if p.shown == first.prefix)
        try:
            said = Architecture.from_metadata(said_of(content, place.shown))
        except ValueError as error:
            raise WeightsError(f"{weights}{error}. Nothing was loaded.") from error
        return replace(first, averaged=is_averaged(content, place), said=said)

    @property
    def variant(self) -> str:
        """Returns the network that the shapes belong to; "" if it is none."""
        return network_name(self.state)

    @property
    def presupposed(self) -> Architecture | None:
        """Returns the network that the file says it is of, or that the names in it belong to; None
        where they are those of many.
        """
        found = None if self.said else identify(self.state)
        return FORMATS[self.family].presupposes(found) if found else self.said

    @property
    def names(self) -> str:
        """Returns a sentence on the names in the file, with a space behind it, for a message."""
        if self.family:
            behind = f", behind {self.prefix!r}" if self.prefix else ""
            return f"Its names are {FORMATS[self.family].family}'s{behind}. "
        if self.beginnings:
            return f"Its names begin with {self.beginnings}. "
        return "It holds no tensors. "


def _several(held: list[Checkpoint]) -> str:
    listed = [f"{one.prefix or '(none)'} {one.variant or 'no ResNeXt'}" for one in held]
    more = f", and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    example = held[-1].prefix
    return (
        f"the file holds {len(held)} trunks, behind the prefixes {', '.join(listed[:MOST_LISTED])}"
        f"{more}. Choose one: load_weights(..., prefix={example!r}), prefix={example!r} in an "
        f"init_cfg, or for all tools `resnext convert SOURCE DEST --to safetensors --prefix "
        f"{example}`, whose file has that trunk alone. Nothing was loaded."
    )


def _held(place: Found, entries: Mapping[str, Entry], names: list[str]) -> Checkpoint:
    """Returns the trunk at a place; `names` are those of the entries, sorted."""
    format_, prefix = FORMATS[place.family], place.prefix
    inside = {name.removeprefix(prefix): entries[name] for name in behind(prefix, names)}
    tensors = [e for e in entries.values() if isinstance(e.value, Tensor)]
    beside = {e.name for e in tensors if e.container == place.container}
    sparse = sum(_dense_bytes(e.value) for e in inside.values())
    # Detectron2 calls all norms alike; those over a batch have statistics.
    kind = "bn" if any(name.endswith(".running_mean") for name in inside) else "gn"
    state, odd, unknown = {}, {}, []
    for name, entry in inside.items():
        own = format_.to_own(name, kind)
        if "." not in name and not isinstance(entry.value, Tensor):
            continue  # no module's: a date, a path, what else is saved beside tensors
        value = plain_value(entry.value, dense=sparse <= MOST_DENSE)
        if own is not None and not re.fullmatch(format_.heads, name):
            if isinstance(value, Tensor):
                state[own] = value
            else:
                odd[own] = value
        elif (
            own is not None
            or not name.startswith(format_.trunk)
            or re.fullmatch(format_.junk, name)
            or (isinstance(value, Tensor) and value.dim() == 1 and not value.any())  # does nothing
        ):
            continue
        else:
            unknown.append(entry.name)
            beside.discard(entry.name)
            continue
        beside.discard(entry.name)
    fused = _are_fused(state, restore=format_.fuses_norms)
    return Checkpoint(
        state,
        place.family,
        tuple(sorted(beside)),
        tuple(sorted(unknown)),
        False,
        fused,
        prefix=place.shown,
        odd=odd,
    )


def _dense_bytes(value: Any) -> int:
    sparse = isinstance(value, Tensor) and not value.is_nested and value.layout is not torch.strided
    return value.numel() * value.element_size() if sparse else 0


def plain_value(value: Any, *, dense: bool) -> Tensor | str:
    """Returns a tensor of plain values, or what hinders it; none is made less precise. Sparse ones
    get their zeros where they may become dense.
    """
    if not isinstance(value, Tensor):
        return value.name
    if value.is_meta:
        return "a tensor without values"
    if value.is_nested:
        return "a nested tensor"
    if value.is_quantized:
        return value.dequantize()
    if value.layout is not torch.strided:
        return value.to_dense() if dense else f"a sparse tensor of shape {tuple(value.shape)}"
    if value.is_floating_point() and value.element_size() == 1:
        return value.float()
    return value


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
