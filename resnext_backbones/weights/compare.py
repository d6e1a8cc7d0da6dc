"""A state dict beside a network's own: what is missing, unexpected, or of another shape."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from resnext_backbones.models.architecture import UNSEEN, Architecture
from resnext_backbones.weights.errors import WeightsError

COUNTER = "num_batches_tracked"
"""The counters of batch norms: older files have none, and frozen norms no place for them."""


@dataclass(frozen=True)
class Comparison:
    """How a state dict differs from a network's; it is false where they fit each other.

    Attributes:
        missing: keys that the network has.
        unexpected: keys that it has not.
        shapes: keys whose tensors have another shape, with both.
        types: keys whose tensors are not floating point and should be, with their type.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[str] = ()
    types: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes or self.types)

    def __str__(self) -> str:
        return (
            listing("missing", self.missing)
            + listing("unexpected", self.unexpected)
            + listing("of another shape", self.shapes)
            + listing("not floating point", self.types)
        )


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
    return Comparison(
        missing=sorted(filter(_counts, own.keys() - state.keys() - set(optional))),
        unexpected=sorted([*filter(_counts, state.keys() - own.keys()), *unknown]),
        shapes=[
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in both
            if state[key].shape != own[key].shape
        ],
        types=[
            f"{key} ({state[key].dtype})"
            for key in both
            if own[key].is_floating_point() and not state[key].is_floating_point()
        ],
    )


def check_unseen(source: object, held: Architecture, network: Architecture) -> None:
    """Check that weights and a network agree in what no tensor shows.

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


def listing(what: str, keys: Sequence[str], limit: int = 8) -> str:
    """Returns a line of a message: how many keys there are, and the first of them; "" for none."""
    if not keys:
        return ""
    more = f", and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"\n  {len(keys)} {what}: {', '.join(keys[:limit])}{more}"


def _counts(key: str) -> bool:
    return not key.endswith(COUNTER)
