"""Loads weights whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resnext_backbones.models import ResNeXt
from resnext_backbones.weights.checkpoint import EPS, Checkpoint
from resnext_backbones.weights.compare import (
    COUNTER,
    SHAPE,
    check_unseen,
    compare,
    other_context,
    unseen_mismatch,
)
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.formats import FORMATS
from resnext_backbones.weights.identify import network_name
from resnext_backbones.weights.inputs import adapted, input_channels, other_input
from resnext_backbones.weights.publishers import NONCOMMERCIAL
from resnext_backbones.weights.recorded import recorded_architecture
from resnext_backbones.weights.registry import Published
from resnext_backbones.weights.sources import locate, row_of, row_of_file

HEAD = "fc."
"""Names of a classification head begin so; a trunk has none."""


@dataclass(frozen=True)
class LoadedWeights:
    """Says what a load did.

    Attributes:
        source: where the weights came from.
        variant, family, averaged, fused: as of its `Checkpoint`.
        unused: keys of the source that the network has no place for: a head, a detector's rest.
        untouched: keys of plugins and deformable offsets that a plain trunk's weights do not
            have, and of a head that was not to be loaded; they keep their initialisation.
        licence: of the weights, where they are published ones.
        prefix: what stands in front of the trunk's names in the source.
        tensors: how many were loaded.
        input_channels: of the images that the source is for, where `adapt_input` fitted its first
            convolution to others; 0 where it did not.
    """

    source: str
    variant: str
    family: str = "torchvision"
    averaged: bool = False
    fused: bool = False
    unused: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    licence: str = ""
    prefix: str = ""
    tensors: int = 0
    input_channels: int = 0

    def __str__(self) -> str:
        parts = [
            self.variant,
            f"names of {FORMATS[self.family].family}" if self.family != "torchvision" else "",
            f"{self.tensors} tensors behind {self.prefix!r}" if self.prefix else "",
            "averaged weights" if self.averaged else "",
            "fused norms" if self.fused else "",
            f"adapted from images of {self.input_channels} channels" if self.input_channels else "",
            f"without its {len(self.unused)} other tensors" if self.unused else "",
            f"{len(self.untouched)} of the network's tensors not in it" if self.untouched else "",
            f"licence {self.licence}" if self.licence else "",
        ]
        return f"{self.source} ({', '.join(filter(None, parts))})"


def load_weights(
    model: ResNeXt,
    source: str | Path,
    *,
    prefix: str = "",
    head: bool = True,
    adapt_input: str | None = None,
) -> LoadedWeights:
    """Loads weights into a trunk or a classifier, whole or not at all.

    The file holds the weights of a trunk, of a classifier or of a whole detector, by the names of
    any family in `weights.formats.FORMATS`, as safetensors, from `torch.save`, or as a pickle of
    arrays. The head of a classifier and the other parts of a detector are left out and reported.

    Args:
        source: a path, an address, `hf://OWNER/REPOSITORY/FILE`, or an alias such as
            `torchvision/resnext50_32x4d.v2`, one of `weights.registry.REGISTRY`.
        prefix: what the trunk's names begin with, with a last dot or without: the one of several
            trunks in a file.
        head: load the head of a classifier too. False keeps the model's own, of whatever classes:
            to fine-tune on another data set.
        adapt_input: how weights are fitted to a network for images of another number of channels,
            one of `weights.inputs.ADAPT_INPUT`; None refuses them.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: the model is none of these.
        WeightsError: it cannot be had or read, or does not fit: as `compare` finds, or because it
            is known to be of a network that differs in what no tensor shows. The model is then
            unchanged.
    """
    model = _unwrapped(model)
    content, row = _read(model, source)
    loaded = load_state(
        model, content, str(source), prefix=prefix, head=head, adapt_input=adapt_input
    )
    if row is None:
        return loaded
    if row.source.licence == NONCOMMERCIAL:
        warnings.warn(
            f"weights {source}: licence {NONCOMMERCIAL}, non-commercial use only", stacklevel=2
        )
    return replace(loaded, licence=row.source.licence)


def check_fit(model: ResNeXt, source: str | Path, *, adapt_input: str | None = None) -> None:
    """Raises what `load_weights` does where weights do not fit, and loads nothing: also for a
    network on the meta device, which has no memory.
    """
    model = _unwrapped(model)
    content, _ = _read(model, source)
    held = _adapted(model, Checkpoint.of(content, source=source), adapt_input, source)
    if message := misfit(model, held, source):
        raise WeightsError(message)


def _adapted(model: ResNeXt, held: Checkpoint, how: str | None, source: object) -> Checkpoint:
    if how is None:
        return held
    return replace(held, state=adapted(held.state, model.architecture, how, source))


def _read(model: ResNeXt, source: str | Path) -> tuple[Mapping[str, Any], Published | None]:
    """Returns what a source holds, and its row where it is a published one; WeightsError: it is
    known to be of another network.
    """
    row = row_of(source)
    if row:  # before it is downloaded
        check_unseen(source, row.architecture, model.presupposed())
    path = locate(source)
    # A copy of a published file is what it is, wherever it lies.
    if row is None and (row := row_of_file(path)):
        check_unseen(source, row.architecture, model.presupposed())
    content = read_file(path)
    if row is None and (held := recorded_architecture(path, content, source)):
        check_unseen(source, held, model.presupposed())
    return content, row


def _unwrapped(model: Any) -> Any:
    """Returns the network within what torch.compile, DDP or averaging put around it; TypeError:
    there is none.
    """
    given = type(model).__name__
    while not isinstance(model, ResNeXt):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            raise TypeError(
                f"model must be a ResNeXt or a ResNeXtClassifier, got {given}; of a detector give "
                "its trunk: the `backbone`, its `body`, or in Detectron2 `bottom_up.trunk`"
            )
        model = inner
    return model


def load_state(
    model: ResNeXt,
    content: Mapping[str, Any],
    source: str,
    *,
    prefix: str = "",
    head: bool = True,
    adapt_input: str | None = None,
) -> LoadedWeights:
    """Loads a mapping as `load_weights` does a file; `source` names it in messages."""
    model, held = _unwrapped(model), Checkpoint.of(content, prefix=prefix, source=source)
    channels, had = model.architecture.in_channels, input_channels(held.state)
    held = _adapted(model, held, adapt_input, source)
    if message := misfit(model, held, source, head=head):
        raise WeightsError(message)
    own, left_out = model.state_dict(), _without_place(held.state, model, head=head)
    taken = own.keys() & (held.state.keys() - set(left_out))
    if any(own[key].is_meta for key in taken):  # copying to it does nothing, and says nothing
        raise WeightsError(
            f"weights {source}: the network is on the meta device, which has no memory; load into "
            "one that is on a real device, as to_empty(device=...) makes it. Nothing was loaded."
        )
    # These share the memory of the model's; `load_state_dict` costs twice the time.
    with torch.no_grad():
        # The last ones that were looked at are still in the cache.
        for key in sorted(taken, reverse=True):
            own[key].copy_(held.state[key])
    absent = (key for key in own.keys() - taken if not key.endswith(COUNTER))
    return LoadedWeights(
        source=source,
        variant=held.variant,
        family=held.family,
        averaged=held.averaged,
        fused=held.fused,
        unused=tuple(sorted({*held.outside, *left_out})),
        untouched=tuple(sorted(absent)),
        prefix=held.prefix,
        tensors=len(taken),
        input_channels=0 if had in (None, channels) else had,
    )


def misfit(model: ResNeXt, held: Checkpoint, source: object, *, head: bool = True) -> str:
    """Returns how a file's trunk differs from the network, with a classifier's head or without; ""
    where it can be loaded whole.
    """
    own, odd = model.state_dict(), held.odd
    left_out = {*_without_place(held.state, model, head=head)}
    left_out |= {*_without_place(odd, model, head=head)}
    added = {*model.added_keys(), *(key for key in own if not head and key.startswith(HEAD))}
    state = {key: value for key, value in held.state.items() if key not in left_out}
    odd = {key: reason for key, reason in odd.items() if key not in left_out}
    found = compare(state, own, optional=added, unknown=held.unknown, odd=odd)
    if not found:
        network = model.presupposed()
        fused = replace(network, eps=EPS) if held.fused else None  # which restored statistics have
        presupposed = held.presupposed or fused
        unseen = unseen_mismatch(presupposed, network) if presupposed else ""
        return f"weights {source}: {unseen} {held.names}".rstrip() if unseen else ""
    more = held.names + other_context(held.state, own)
    if any(text.startswith(HEAD) for text in found[SHAPE]):
        weight, ours = held.state.get("fc.weight"), own.get("fc.weight")
        if weight is not None and ours is not None and weight.shape[1:] == ours.shape[1:]:
            more += f"num_classes={len(weight)} builds its head. "
        more += "head=False keeps the network's own head. "
    more += other_input(held.state, model.architecture.in_channels)
    return found.message(f"weights {source}", held.variant, network_name(own), more)


def _without_place(state: Mapping[str, Any], model: ResNeXt, *, head: bool) -> list[str]:
    """Returns the keys of a head and of upper stages, which a trunk need not have; without a head,
    those of any.
    """
    unbuilt = tuple(f"layer{i}." for i in (1, 2, 3, 4) if not hasattr(model, f"layer{i}"))
    own = {key for key in model.state_dict() if head or not key.startswith(HEAD)}
    return [key for key in state if key not in own and key.startswith((HEAD, *unbuilt))]
