"""Loading weights whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from resnext_backbones.models import ResNeXt
from resnext_backbones.variants import variant_name
from resnext_backbones.weights.files import WeightsError, read_file

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training programs put the weights."""

STEM_KEY = re.compile(r"((?:module\.|detector\.|backbone\.)*)(?:conv1|stem\.0)\.weight")
"""The first tensor of a trunk behind what DDP and detectors put in front of its names."""

HEADS = ("fc.", "head.fc.")
"""A classification head; a trunk has none."""


@dataclass(frozen=True)
class LoadedWeights:
    """What a load did.

    Attributes:
        source: where the weights came from.
        variant: that the source held.
        unused: keys of the source that the network has no place for: a head, a detector's rest.
        untouched: keys of plugins and deformable offsets that a plain trunk's weights do not
            have; they keep their initialisation.
    """

    source: str
    variant: str
    unused: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            self.variant,
            f"without its {len(self.unused)} other tensors" if self.unused else "",
            f"{len(self.untouched)} added tensors not in it" if self.untouched else "",
        ]
        return f"{self.source} ({', '.join(filter(None, parts))})"


def load_weights(model: ResNeXt, source: str | Path) -> LoadedWeights:
    """Load a file into a trunk or a classifier, whole or not at all.

    The file holds the weights of a trunk, of a classifier (torchvision's, timm's) or of a whole
    detector (MMDetection's), as safetensors or from `torch.save`. The head of a classifier and
    the other parts of a detector are left out and reported.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it cannot be read, or a key is missing, unexpected or of another shape.
            The model is then unchanged.
    """
    return load_state(model, read_file(source), str(source))


def load_state(model: ResNeXt, content: Mapping[str, Any], source: str) -> LoadedWeights:
    """Load a mapping as `load_weights` does a file; `source` names it in messages."""
    state, outside = _trunk_state(content)
    own = model.state_dict()
    unbuilt = [k for k in state if re.match(r"layer\d+\.", k) and not _is_built(k, model)]
    heads = [k for k in state if k not in own and k.startswith(HEADS)]
    dropped = {*unbuilt, *heads}
    kept = {key: value for key, value in state.items() if key not in dropped}
    absent = own.keys() - kept.keys()
    untouched = sorted(absent & model.added_keys())
    missing = sorted(filter(_counts, absent.difference(untouched)))
    unexpected = sorted(filter(_counts, kept.keys() - own.keys()))
    shapes = sorted(
        f"{k} {tuple(kept[k].shape)} for {tuple(own[k].shape)}"
        for k in own.keys() & kept.keys()
        if kept[k].shape != own[k].shape
    )
    held = variant_of(state)
    if missing or unexpected or shapes:
        raise WeightsError(
            f"weights {source}: this file is {held or 'no ResNeXt'}; the network is "
            f"{variant_of(own)}. Nothing was loaded."
            + _listing("missing", missing)
            + _listing("unexpected", unexpected)
            + _listing("of another shape", shapes)
        )
    model.load_state_dict({k: kept.get(k, own[k]) for k in own})
    return LoadedWeights(source, held, tuple(sorted([*outside, *dropped])), tuple(untouched))


def variant_of(state: Mapping[str, Tensor]) -> str:
    """The variant that a trunk's state dict belongs to, read from its shapes; '' if none."""
    grouped = state.get("layer1.0.conv2.weight")
    if grouped is None or grouped.dim() != 4:
        return ""
    stages: dict[int, set[int]] = {}
    for key in state:
        if found := re.match(r"layer(\d+)\.(\d+)\.", key):
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    depth = tuple(len(stages[i]) for i in sorted(stages))
    width, base_width = grouped.shape[:2]
    return variant_name(depth, width // base_width, base_width)


def _trunk_state(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The trunk's tensors by their plain names, and the keys of all that is around it."""
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    stems = [found for key in tensors if (found := STEM_KEY.fullmatch(key))]
    prefix = stems[0][1] if stems else ""
    outside = [key for key in tensors if not key.startswith(prefix)]
    inside = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in inside.items()}, outside


def _is_built(key: str, model: ResNeXt) -> bool:
    return hasattr(model, key.split(".", 1)[0])


def _counts(key: str) -> bool:
    """Not so the counters of batch norms: older files have none, frozen norms no place for them."""
    return not key.endswith("num_batches_tracked")


def _listing(what: str, keys: Sequence[str], limit: int = 8) -> str:
    if not keys:
        return ""
    more = f", and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"\n  {len(keys)} {what}: {', '.join(keys[:limit])}{more}"
