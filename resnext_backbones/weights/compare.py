"""Compares a state dict with a network's own: once, and in one form of message, for every door."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from resnext_backbones.models.architecture import Architecture, unseen_differences
from resnext_backbones.weights.errors import WeightsError

COUNTER = "num_batches_tracked"
"""The counters of batch norms: older files have none, and frozen norms no place for them."""

MISSING, UNEXPECTED = "missing", "unexpected"
SHAPE, TYPE, BROKEN = "of another shape", "not floating point", "with NaN or infinity"
KIND = "of a kind that holds no plain values"
NEGATIVE = "with a variance below 0"
KINDS = (MISSING, UNEXPECTED, SHAPE, TYPE, BROKEN, NEGATIVE, KIND)

VARIANCE = ".running_var"

MOST_LISTED = 8


class Comparison(dict[str, list[str]]):
    """Holds the keys in which a state dict differs from a network's, by what is wrong with them."""

    def __bool__(self) -> bool:
        return any(self.values())

    def __str__(self) -> str:
        lines = ""
        for what, keys in self.items():
            if keys:
                more = len(keys) - MOST_LISTED
                lines += f"\n  {len(keys)} {what}: {', '.join(sorted(keys)[:MOST_LISTED])}"
                lines += f", and {more} more" if more > 0 else ""
        return lines

    def message(self, source: str, held: str, network: str, more: str = "") -> str:
        """Returns what an error says of a source and the variants of both, which are "" where it is
        none; `more` is a sentence about the source, with a space behind it.
        """
        return (
            f"{source}: the file holds {held or 'no ResNeXt'}; the network is "
            f"{network or 'no ResNeXt'}. {more}Nothing was loaded.{self}"
        )


def compare(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    *,
    optional: Collection[str] = (),
    unknown: Iterable[str] = (),
    odd: Mapping[str, str] | None = None,
) -> Comparison:
    """Returns how `state` differs from a network's `own`; it is false where they fit. Optional keys
    may be missing, and unknown ones, by names of another family, are unexpected; odd ones are there
    and could not be read, for the reason given.
    """
    found = Comparison((what, []) for what in KINDS)
    found[UNEXPECTED] += unknown
    odd = odd or {}
    found[KIND] += (f"{key} ({reason})" for key, reason in odd.items())
    for key in sorted(own.keys() | state.keys()):
        ours, theirs = own.get(key), state.get(key)
        if ours is None or theirs is None:
            if not key.endswith(COUNTER) and key not in optional and key not in odd:
                found[UNEXPECTED if ours is None else MISSING].append(key)
        elif theirs.shape != ours.shape:
            found[SHAPE].append(f"{key} {tuple(theirs.shape)} for {tuple(ours.shape)}")
        elif ours.is_floating_point() and not theirs.is_floating_point():
            found[TYPE].append(f"{key} ({theirs.dtype})")
        elif ours.is_floating_point() and not _is_finite(theirs):
            found[BROKEN].append(key)
        elif key.endswith(VARIANCE) and (theirs < 0).any():
            found[NEGATIVE].append(key)
    return found


def _is_finite(tensor: Tensor) -> bool:
    # The sum of most tensors says it, and is quick.
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())


CONTEXTS = {
    re.compile(r"\.(attn|se)\.conv_attn\."): "GC, timm's global context, whose eps is 1e-6",
    re.compile(r"\.context_block\w*\."): "mmcv's ContextBlock, a plugin whose eps is 1e-5",
}
"""Both add a global context, and differ in what neither names nor shapes of their tensors show."""


def other_context(state: Iterable[str], own: Iterable[str]) -> str:
    """Returns which global context weights were trained with, and which one a network has, as a
    sentence for a message; "" where they are not two.
    """
    trained, built = (
        next((what for mark, what in CONTEXTS.items() if any(map(mark.search, keys))), "")
        for keys in (state, own)
    )
    differ = trained and built and trained != built
    return f"It was trained with {trained}; the network has {built}. " if differ else ""


WORDS = {
    "stride_in_1x1": "style",
    "eps": "norm_cfg",
    "norm_groups": "norm_cfg",
    "convolution": "conv_cfg",
}
"""MMEngine's configs say these fields by other names."""


def unseen_mismatch(held: Architecture, network: Architecture) -> str:
    """Returns how what weights presuppose differs from a network in what no tensor shows, and what
    to do about it; "" where it does not.
    """
    differ = unseen_differences(held, network)
    trained, built = (
        ", ".join(f"{name}={getattr(a, name)!r}" for name in differ) for a in (held, network)
    )
    words = ", ".join(dict.fromkeys(WORDS[name] for name in differ if name in WORDS))
    by = f" ({words} in a config of MMEngine)" if words else ""
    return (
        f"were trained with {trained}, and the network has {built}: the same shapes, and another "
        f"network; build it with {trained}{by}. Nothing was loaded."
        if differ
        else ""
    )


def check_unseen(source: object, held: Architecture, network: Architecture) -> None:
    """Raises WeightsError where `unseen_mismatch` finds something."""
    if message := unseen_mismatch(held, network):
        raise WeightsError(f"weights {source}: {message}")


def check_said(source: object, said: Mapping[str, Any], network: Architecture) -> None:
    """Raises WeightsError where metadata say another network, or what is none."""
    try:
        held = Architecture.from_metadata(said)
    except ValueError as error:
        raise WeightsError(f"weights {source}: {error}. Nothing was loaded.") from error
    if held is not None:
        check_unseen(source, held, network)
