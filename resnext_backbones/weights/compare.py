"""A state dict beside a network's own: one comparison, and one form of message, for every door."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from resnext_backbones.models.architecture import UNSEEN, Architecture
from resnext_backbones.weights.errors import WeightsError

COUNTER = "num_batches_tracked"
"""The counters of batch norms: older files have none, and frozen norms no place for them."""

MOST_LISTED = 8

WORDS = {
    "missing": "missing",
    "unexpected": "unexpected",
    "shapes": "of another shape",
    "types": "not floating point",
    "broken": "with NaN or infinity",
}
"""What messages call the fields of a comparison."""


@dataclass(frozen=True)
class Comparison:
    """How a state dict differs from a network's; it is false where they fit each other.

    Attributes:
        missing: keys that the network has.
        unexpected: keys that it has not.
        shapes: keys whose tensors have another shape, with both.
        types: keys whose tensors are not floating point and should be, with their type.
        broken: keys whose tensors have values that are not finite.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[str] = ()
    types: Sequence[str] = ()
    broken: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def message(self, source: str, held: str, network: str, more: str = "") -> str:
        """Returns what an error says.

        Args:
            source: of the state dict.
            held, network: the variants of both; `held` is "" where it is none.
            more: a sentence about the source, with a space behind it.
        """
        return (
            f"{source}: the file holds {held or 'no ResNeXt'}; the network is {network}. "
            f"{more}Nothing was loaded.{self}"
        )

    def __str__(self) -> str:
        lines = ""
        for name, what in WORDS.items():
            if keys := getattr(self, name):
                rest = len(keys) - MOST_LISTED
                lines += f"\n  {len(keys)} {what}: {', '.join(keys[:MOST_LISTED])}"
                lines += f", and {rest} more" if rest > 0 else ""
        return lines


def compare(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    *,
    optional: Collection[str] = (),
    unknown: Iterable[str] = (),
) -> Comparison:
    """Returns how `state` differs from a network's `own`; counters of batches do not matter.

    Args:
        optional: keys that may be missing.
        unknown: further keys that are unexpected, by names of another family.
    """
    both = sorted(own.keys() & state.keys())
    floating = [key for key in both if own[key].is_floating_point()]
    types = [key for key in floating if not state[key].is_floating_point()]

    def only(these: Iterable[str], others: Collection[str]) -> list[str]:
        return sorted(k for k in these if k not in others and not k.endswith(COUNTER))

    return Comparison(
        missing=only(own, {*state, *optional}),
        unexpected=sorted([*only(state, own), *unknown]),
        shapes=[
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in both
            if state[key].shape != own[key].shape
        ],
        types=[f"{key} ({state[key].dtype})" for key in types],
        broken=[key for key in floating if key not in types and not _is_finite(state[key])],
    )


def _is_finite(tensor: Tensor) -> bool:
    # The sum of most tensors says it, and is quick.
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())


def check_unseen(source: object, held: Architecture, network: Architecture) -> None:
    """Checks that weights and a network agree in what no tensor shows.

    Args:
        source: of the weights, as messages call it.
        held: what the weights presuppose.

    Raises:
        WeightsError: they do not.
    """
    for name in UNSEEN:
        ours, theirs = getattr(network, name), getattr(held, name)
        if ours != theirs:
            raise WeightsError(
                f"weights {source}: belong to a network with {name}={theirs!r}, and this one has "
                f"{ours!r}: the same shapes, and another network. Nothing was loaded."
            )
