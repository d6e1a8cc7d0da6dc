"""Finds the network that a state dict belongs to, by its names and shapes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from resnext_backbones.models.architecture import EXPANSION, Architecture
from resnext_backbones.models.layers import Layers
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.attention import ATTENTION, NAMES
from resnext_backbones.models.parts.norms import Norms
from resnext_backbones.models.parts.stems import SHARES, deep_channels
from resnext_backbones.models.regnet import STEM_CHANNELS as REGNET_STEM
from resnext_backbones.variants import describe, names_of
from resnext_backbones.weights.compare import COUNTER

DEEP_STEM = ("stem.0.weight", "stem.3.weight", "stem.6.weight")
STEM = ("conv1.weight", *DEEP_STEM)

BLOCK = re.compile(r"layer(\d+)\.(\d+)\.")
WIDTHS = re.compile(r"layer(\d+)\.\d+\.conv([23])\.weight")
LAYERS = Layers(partial(nn.Conv2d, bias=False), Norms("BN", 8), ACTIVATIONS["ReLU"], True)
"""The modules that names and shapes are compared with consist of these."""

SPATIAL = {
    "SK": re.compile(r"(layer\d+\.\d+\.conv2)\.paths\.0\.conv\.weight"),
    "BoT": re.compile(r"(layer\d+\.\d+\.conv2)\.qkv\.weight"),
}
"""The name of one tensor of each part in a 3x3 convolution's place, behind that of the part."""

LAST = re.compile(r"layer(\d+)\.\d+\.conv3\.weight")

ATTENDED = re.compile(rf"(layer\d+\.[01])\.({'|'.join(NAMES.values())})\.(.+)")
POSITIONS = {name: after for after, name in NAMES.items()}
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
    # Where tensors do not belong together the first stage says what the others should be.
    for stages in (_stages(wide), {"base_channels": last.shape[0] // EXPANSION}):
        with suppress(ValueError):
            found = Architecture(
                blocks=_blocks(state),
                cardinality=width // base_width,
                base_width=base_width,
                in_channels=in_channels,
                stem=stem,
                stem_channels=stem_channels,
                shortcut="pooled" if any(map(POOLED.match, state)) else "strided",
                norm_kind="group" if "layer1.0.gn1.weight" in state else "batch",
                attention=attention,
                attention_after=after,
                spatial=spatial,
                stage="plain" if wide is state else "csp",
                **stages,
            )
            return replace(found, stem="3x3/2") if _seems_strided(state, found) else found
    return None


def _stages(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Returns the channels and groups of each stage, as most of its blocks have them."""
    shapes: dict[tuple[str, str], Counter[torch.Size]] = defaultdict(Counter)
    for key, tensor in state.items():
        if (found := WIDTHS.fullmatch(key)) and tensor.dim() == 4 and tensor.numel():
            shapes[found[1], found[2]][tensor.shape] += 1
    most = {place: counted.most_common(1)[0][0] for place, counted in shapes.items()}
    names = sorted({stage for stage, _ in most})
    if any((stage, conv) not in most for stage in names for conv in "23"):
        return {}
    return {
        "stage_channels": [most[stage, "3"][0] for stage in names],
        "stage_groups": [most[stage, "2"][0] // most[stage, "2"][1] for stage in names],
    }


def _seems_strided(state: Mapping[str, Tensor], found: Architecture) -> bool:
    """Returns whether a stem of one 3x3 convolution is taken for one that strides, and the first
    stage too: where that stage has a projection for this alone, and else in a RegNet. One whose
    stages double is told by its stem, and by the width of its first stage.
    """
    if found.stem != "3x3":
        return False
    stem, channels = found.stem_out_channels, found.out_channels(0)
    if stem == channels:
        return "layer1.0.downsample.0.weight" in state
    own = found.stage_channels, found.stage_groups, found.stem_channels
    return own != (None,) * 3 or (stem == REGNET_STEM and found.width(0) == channels)


def _as_plain(state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """Returns a state dict in which tensors of 3x3 convolutions are where something else is, and
    what that is. Where it has no groups, they go on as in the first two stages: twice the channels
    in each group, or twice the groups.
    """
    for kind, mark in SPATIAL.items():
        if found := {f"{m[1]}.weight": t for key, t in state.items() if (m := mark.fullmatch(key))}:
            if kind == "BoT":
                firsts = (state.get(f"layer{i}.0.conv2.weight") for i in (1, 2))
                below = [t for t in firsts if t is not None]
                if len(below) < 2 or any(t.dim() != 4 or not t.numel() for t in below):
                    return state, kind
                (width, group, *size), same = below[0].shape, below[0].shape[1] == below[1].shape[1]
                for key, t in found.items():
                    channels = t.shape[1] if t.dim() == 4 else 0
                    each = group * (1 if same else channels // width)
                    found[key] = t.new_empty(channels, each, *size, device="meta")
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
    other = _others(state, found)
    return describe(found) + (f" with another {' and another '.join(other)}" if other else "")


def row_names(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the variants whose tensors these are, with whatever norms; there may be several, as
    of `names_of`.
    """
    found = identify(state)
    if found is None or _others(state, found):
        return []
    return names_of(replace(found, norm_kind=Architecture.norm_kind))


def _others(state: Mapping[str, Tensor], found: Architecture) -> list[str]:
    """Returns the parts that the network has and that are in no table."""
    channels = tuple(state[name].shape[0] for name in DEEP_STEM if name in state)
    known = deep_channels(found.stem, found.stem_out_channels)
    names = tuple(f"layer1.0.{name}." for name in NAMES.values())
    attended = not found.attention and any(key.startswith(names) for key in state)
    others = {"stem": len(channels) == 3 and channels != known, "attention": attended}
    return [part for part, differs in others.items() if differs]


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
    """Returns its kind, and the convolution that it stands behind: the kind that fits the most of
    the stages' first two blocks, of which the first has inputs of its own.
    """
    held: dict[int, dict[str, dict[str, torch.Size]]] = {after: {} for after in NAMES}
    for key, tensor in state.items():
        if (found := ATTENDED.fullmatch(key)) and not key.endswith(COUNTER):
            block = held[POSITIONS[found[2]]].setdefault(found[1], {})
            block[found[3]] = tensor.shape
    for after, blocks in held.items():
        fits = {kind: _count(state, blocks, kind, after) for kind in ATTENTION}
        kind = max(fits, key=lambda kind: fits[kind])
        if fits[kind]:
            return kind, after
    return "", 3


def _count(state: Mapping[str, Tensor], blocks: Mapping[str, object], kind: str, after: int) -> int:
    """Counts the blocks that have the tensors of a kind of attention."""
    count = 0
    for block, held in blocks.items():
        first, conv = (state.get(f"{block}.conv{i}.weight") for i in (1, after))
        if first is None or conv is None or first.dim() != 4 or conv.dim() != 4:
            continue
        with torch.device("meta"):
            built = ATTENTION[kind](conv.shape[0], LAYERS, first.shape[1]).state_dict()
        count += held == {k: v.shape for k, v in built.items() if not k.endswith(COUNTER)}
    return count
