"""What the trunk's arguments may be, with errors that name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

DEPTHS: dict[int, tuple[int, ...]] = {
    26: (2, 2, 2, 2),
    29: (3, 3, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage: He et al. (2016), Table 1; 26 is timm's, and 29 Xie et al.'s (2017)
for CIFAR, section 5.3."""

MAX_STAGES = 4
MIN_SIZE = 32


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
        blocks = positive_integers("blocks", depth)
        if not 1 <= len(blocks) <= MAX_STAGES:
            raise ValueError(f"blocks must be of 1 to {MAX_STAGES} stages, got {blocks}")
    n = len(blocks) if num_stages is None else num_stages
    check_range("num_stages", n, 1, len(blocks))
    return blocks[:n]


def check_one_of(name: str, value: object, allowed: Iterable[object], more: str = "") -> None:
    """Check that a value is one of some.

    Args:
        more: what else it may be, in words.

    Raises:
        ValueError: it is not.
    """
    values = list(allowed)
    if value not in values:
        listed = ", ".join(map(str, values))
        raise ValueError(f"{name} must be one of {listed}{more and f' {more}'}, got {value!r}")


def is_integer(value: object) -> bool:
    """Whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_positive(**values: int) -> None:
    """Check that each value is an integer of at least 1.

    Raises:
        ValueError: one is not; its name and value are in the message.
    """
    for name, value in values.items():
        if not is_integer(value) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Check that a value is an integer from `low` to `high`.

    Raises:
        ValueError: it is not.
    """
    if not is_integer(value) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")


def check_probability(name: str, value: float) -> None:
    """Check that a value is in [0, 1).

    Raises:
        ValueError: it is not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")


def positive_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """The values as a tuple.

    Raises:
        ValueError: it is no sequence, or one of them is no integer of at least 1.
    """
    if not isinstance(values, Sequence) or not all(is_integer(v) and v > 0 for v in values):
        raise ValueError(f"{name} must be positive integers, got {values!r}")
    return tuple(values)


def per_stage(
    name: str, values: Sequence[T] | None, num_stages: int, default: Sequence[T]
) -> tuple[T, ...]:
    """The values as a tuple with one for each stage.

    Raises:
        ValueError: there are more or fewer, or it is no sequence.
    """
    if values is None:
        return tuple(default)
    if not isinstance(values, Sequence) or len(values) != num_stages:
        raise ValueError(
            f"{name} must have one value for each of the {num_stages} stages, got {values!r}"
        )
    return tuple(values)


def stage_indices(name: str, indices: Sequence[int] | None, num_stages: int) -> tuple[int, ...]:
    """The indices as a tuple: stages, each once and in order; None is all of them.

    Raises:
        ValueError: they are not, or there are none.
    """
    if indices is None:
        return tuple(range(num_stages))
    fits = isinstance(indices, Sequence) and all(
        is_integer(i) and 0 <= i < num_stages for i in indices
    )
    if not fits or not indices or list(indices) != sorted(set(indices)):
        raise ValueError(
            f"{name} must be increasing stage indices from 0 to {num_stages - 1}, got {indices!r}"
        )
    return tuple(indices)


def check_images(images: Tensor, in_channels: int, dtype: torch.dtype) -> None:
    """The images are ones that a trunk with that many channels and that type of weights takes.

    Raises:
        ValueError: their shape is not (N, in_channels, H, W) with H and W of at least 32.
        TypeError: they are not floating point, or not of the weights' type without autocast.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != in_channels:
        raise ValueError(f"images must have shape (N, {in_channels}, H, W), got {shape}")
    if shape[2] < MIN_SIZE or shape[3] < MIN_SIZE:
        raise ValueError(f"images must be at least {MIN_SIZE} x {MIN_SIZE}, got {shape}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point and normalised, got {images.dtype}")
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(
            f"images are {images.dtype} and the weights {dtype}: convert one or use autocast"
        )
