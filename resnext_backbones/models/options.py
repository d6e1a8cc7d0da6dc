"""What the trunk's arguments may be: each check raises a ValueError that names the argument."""

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
    """Returns the blocks of the first `num_stages` stages, of a depth in `DEPTHS` or as given."""
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
    """Checks that a value is one of some; `more` says in words what else it may be."""
    values = list(allowed)
    if value not in values:
        listed = ", ".join(map(str, values))
        raise ValueError(f"{name} must be one of {listed}{more and f' {more}'}, got {value!r}")


def is_integer(value: object) -> bool:
    """Returns whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_positive(**values: int) -> None:
    """Checks that each value is an integer of at least 1."""
    for name, value in values.items():
        if not is_integer(value) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Checks that a value is an integer from `low` to `high`."""
    if not is_integer(value) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {value!r}")


def positive_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Returns a sequence of integers of at least 1 as a tuple."""
    if not isinstance(values, Sequence) or not all(is_integer(v) and v > 0 for v in values):
        raise ValueError(f"{name} must be positive integers, got {values!r}")
    return tuple(values)


def per_stage(
    name: str, values: Sequence[T] | None, num_stages: int, default: Sequence[T]
) -> tuple[T, ...]:
    """Returns a sequence of one value for each stage as a tuple; None is the default."""
    if values is None:
        return tuple(default[:num_stages])
    if not isinstance(values, Sequence) or len(values) != num_stages:
        raise ValueError(
            f"{name} must have one value for each of the {num_stages} stages, got {values!r}"
        )
    return tuple(values)


def stage_indices(name: str, indices: Sequence[int] | None, num_stages: int) -> tuple[int, ...]:
    """Returns indices of stages, each once and in order, as a tuple; None is all of them."""
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
    """Checks that a trunk with that many channels and weights of that type takes the images.

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
