"""What the trunk's arguments may be, with errors that name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

DEPTHS: dict[int, tuple[int, ...]] = {
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage: He et al. (2016), Table 1; 26 is timm's."""

MAX_STAGES = 4


def stage_blocks(depth: int | Sequence[int], num_stages: int | None = None) -> tuple[int, ...]:
    """The blocks of each stage, the first `num_stages` of them.

    Raises:
        ValueError: the depth is not in `DEPTHS`, a stage has no block, or there are not that
            many stages.
    """
    if isinstance(depth, int):
        if depth not in DEPTHS:
            known = ", ".join(map(str, DEPTHS))
            raise ValueError(f"depth must be one of {known} or a tuple of blocks, got {depth}")
        blocks = DEPTHS[depth]
    else:
        blocks = tuple(depth)
        check_positive(depth=blocks)
        if not 1 <= len(blocks) <= MAX_STAGES:
            raise ValueError(f"depth must have 1 to {MAX_STAGES} stages, got {blocks}")
    n = len(blocks) if num_stages is None else num_stages
    if not 1 <= n <= len(blocks):
        raise ValueError(f"num_stages must be from 1 to {len(blocks)}, got {num_stages}")
    return blocks[:n]


def check_positive(**values: int | Sequence[int]) -> None:
    """Each value is an integer of at least 1, or a sequence of them.

    Raises:
        ValueError: one is not; its name and value are in the message.
    """
    for name, value in values.items():
        items = value if isinstance(value, Sequence) else (value,)
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in items):
            raise ValueError(f"{name} must be positive integers, got {value!r}")


def per_stage(
    name: str, values: Sequence[T] | None, num_stages: int, default: Sequence[T]
) -> tuple[T, ...]:
    """The values as a tuple with one for each stage.

    Raises:
        ValueError: there are more or fewer.
    """
    if values is None:
        return tuple(default)
    if len(values) != num_stages:
        raise ValueError(
            f"{name} must have one value for each of the {num_stages} stages, got {values!r}"
        )
    return tuple(values)


def check_indices(name: str, indices: tuple[int, ...], num_stages: int) -> None:
    """The indices are stages, each once and in order.

    Raises:
        ValueError: they are not, or there are none.
    """
    in_range = all(isinstance(i, int) and 0 <= i < num_stages for i in indices)
    if not indices or not in_range or list(indices) != sorted(set(indices)):
        raise ValueError(
            f"{name} must be increasing stage indices from 0 to {num_stages - 1}, got {indices}"
        )
