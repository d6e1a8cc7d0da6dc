"""Finds the network that a state dict belongs to, by its names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from resnext_backbones.models.architecture import EXPANSION, Architecture
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.attention import ATTENTION, NAMES
from resnext_backbones.models.parts.norms import Norms
from resnext_backbones.models.parts.stems import SHARES, deep_channels
from resnext_backbones.variants import describe
from resnext_backbones.weights.compare import COUNTER

DEEP_STEM = ("stem.0.weight", "stem.3.weight", "stem.6.weight")
STEM = ("conv1.weight", *DEEP_STEM)

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.")
LAYERS = Layers(partial(nn.Conv2d, bias=False), Norms("BN", 8), ACTIVATIONS["ReLU"], True)
"""Of these are the modules that names and shapes are compared with."""

SPATIAL = {
    "SK": re.compile(r"(layer\d+\.\d+\.conv2)\.paths\.0\.conv\.weight"),
    "BoT": re.compile(r"(layer\d+\.\d+\.conv2)\.qkv\.weight"),
}
"""The name of one tensor of each part in a 3x3 convolution's place, behind that of the part."""

LAST = re.compile(r"layer(\d+)\.\d+\.conv3\.weight")

POOLED = re.compile(r"layer\d\.0\.downsample\.2\.")


def identify(state: Mapping[str, Tensor]) -> Architecture | None:
    """Returns the architecture of a trunk or a classifier by this package's names; None where it is
    none. Stages that it lacks are unknown: `blocks` has those that it has. So are the fields of
    `models.architecture.UNSEEN`, which have their defaults.
    """
    state, spatial = _as_plain(state)
    needed = [state.get(f"layer1.0.conv{i}.weight") for i in (1, 2, 3)]
    needed += [state[name] for name in STEM if name in state]
    if any(t is None or t.dim() != 4 or not t.numel() for t in needed):
        return None
    wide = _of_stages(state)
    grouped, last = state["layer1.0.conv2.weight"], wide["layer1.0.conv3.weight"]
    stem, in_channels, stem_channels = _stem(state)
    width, base_width = grouped.shape[:2]
    attention, after = _attention(state)
    second = state.get("layer2.0.conv2.weight")
    try:
        return Architecture(
            blocks=_blocks(state),
            cardinality=width // base_width,
            base_width=base_width,
            fixed_width=second is not None and second.shape[1] == base_width,
            in_channels=in_channels,
            base_channels=last.shape[0] // EXPANSION,
            stem=stem,
            stem_channels=stem_channels,
            shortcut="pooled" if any(map(POOLED.match, state)) else "strided",
            norm_kind="group" if "layer1.0.gn1.weight" in state else "batch",
            attention=attention,
            attention_after=after,
            spatial=spatial,
            stage="plain" if wide is state else "csp",
        )
    except ValueError:
        return None


def _as_plain(state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """Returns a state dict in which tensors of 3x3 convolutions are where something else is, and
    what that is. Where it has no groups, its channels a group are those of the first convolution.
    """
    for kind, mark in SPATIAL.items():
        if found := {f"{m[1]}.weight": t for key, t in state.items() if (m := mark.fullmatch(key))}:
            first = state.get("layer1.0.conv2.weight")
            if kind == "BoT" and first is not None:
                found = {
                    key: first[:1].expand(t.shape[1], *first.shape[1:]) for key, t in found.items()
                }
            return {**state, **found}, kind
    return state, ""


def _of_stages(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Returns a state dict in which a block's output has the channels of its stage's, which is
    `state` itself where stages are rows of blocks.
    """
    ends = {
        key: f"layer{m[1]}.conv_transition.conv.weight"
        for key in state
        if (m := LAST.fullmatch(key))
    }
    ends = {key: end for key, end in ends.items() if end in state}
    return {**state, **{key: state[end] for key, end in ends.items()}} if ends else state


def network_name(state: Mapping[str, Tensor]) -> str:
    """Returns the variant that a state dict belongs to, or describes it; "" where it is none."""
    found = identify(state)
    if found is None:
        return ""
    other = [what for what, differs in _others(state, found) if differs]
    return describe(found) + (f" with another {' and another '.join(other)}" if other else "")


def _others(state: Mapping[str, Tensor], found: Architecture) -> Iterator[tuple[str, bool]]:
    """Yields parts, and whether the network has one that is in no table."""
    channels = tuple(state[name].shape[0] for name in DEEP_STEM if name in state)
    known = deep_channels(found.stem, found.stem_out_channels)
    yield "stem", len(channels) == 3 and channels != known
    names = tuple(f"layer1.0.{name}." for name in NAMES.values())
    yield "attention", not found.attention and any(key.startswith(names) for key in state)


def _blocks(state: Mapping[str, Tensor]) -> list[int]:
    stages: dict[int, set[int]] = {}
    for key in state:
        if found := BLOCK.match(key):
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    return [len(stages[i]) for i in sorted(stages)]


def _stem(state: Mapping[str, Tensor]) -> tuple[str, int, int]:
    """Returns its kind, and the channels in and out; what is not there counts as the usual."""
    deep = [state[name].shape for name in DEEP_STEM if name in state]
    if len(deep) == 3:
        channels = tuple(shape[0] for shape in deep)
        known = (kind for kind in SHARES if deep_channels(kind, channels[-1]) == channels)
        return next(known, "deep"), deep[0][1], channels[-1]
    conv = state.get("conv1.weight")
    if conv is None:
        return "7x7", 3, state["layer1.0.conv1.weight"].shape[1]
    return f"{conv.shape[-2]}x{conv.shape[-1]}", conv.shape[1], conv.shape[0]


def _attention(state: Mapping[str, Tensor]) -> tuple[str, int]:
    """Returns its kind, and the convolution that it stands behind, as the first block has it."""
    for after, name in NAMES.items():
        prefix = f"layer1.0.{name}."
        held = {
            key.removeprefix(prefix): tensor.shape
            for key, tensor in state.items()
            if key.startswith(prefix) and not key.endswith(COUNTER)
        }
        channels = state[f"layer1.0.conv{after}.weight"].shape[0]
        for kind, build in ATTENTION.items() if held else ():
            with torch.device("meta"):
                tensors = build(channels, LAYERS).state_dict()
            shapes = {k: v.shape for k, v in tensors.items() if not k.endswith(COUNTER)}
            if held == shapes:
                return kind, after
    return "", 3
