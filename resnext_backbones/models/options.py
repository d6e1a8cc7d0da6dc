"""Each check of an argument raises a ValueError that names it and says what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

DEPTHS: dict[int, tuple[int, ...]] = {
    26: (2, 2, 2, 2),
    29: (3, 3, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    201: (3, 24, 36, 4),
}
"""Blocks of each stage: He et al. (2016), Table 1; 26 and 201 are timm's, and 29 Xie et al.'s
(2017) for CIFAR, section 5.3."""

MAX_STAGES, MOST_BLOCKS = 4, 1000
MIN_SIZE = 32


def require(fits: object, name: str, what: str, value: object) -> None:
    """Raises a ValueError unless a value fits, which says what it must be and what it is."""
    if not fits:
        raise ValueError(f"{name} must be {what}, got {value!r}")


@contextmanager
def building(part: str) -> Iterator[None]:
    """Puts the name of a part of the network in front of what a ValueError within says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from error


def is_integer(value: object) -> bool:
    """Returns whether it is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_positive(value: object) -> bool:
    """Returns whether it is an integer of at least 1."""
    return is_integer(value) and value >= 1  # type: ignore[operator]


def is_eps(value: object) -> bool:
    """Returns whether it is a finite number of at least 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf  # type: ignore[operator]


def one_or_several(name: str, value: Any, fits: Callable[[object], bool], what: str) -> Any:
    """Returns a value that fits, or several different ones, in order, as a tuple."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    require(values and all(map(fits, values)), name, what, value)
    values = sorted(set(values))
    return values[0] if len(values) == 1 else tuple(values)


def check_one_of(name: str, value: object, allowed: Iterable[object], more: str = "") -> None:
    """Checks that a value is one of some; `more` says in words what else it may be."""
    values = list(allowed)
    listed = ", ".join(map(str, values))
    require(value in values, name, f"one of {listed}{more and f' {more}'}", value)


def check_positive(**values: int) -> None:
    """Checks that each value is an integer of at least 1."""
    for name, value in values.items():
        require(is_positive(value), name, "a positive integer", value)


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Checks that a value is an integer from `low` to `high`."""
    fits = is_integer(value) and low <= value <= high
    require(fits, name, f"an integer from {low} to {high}", value)


def positive_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Returns a sequence of integers of at least 1 as a tuple."""
    fits = isinstance(values, Sequence) and all(is_integer(v) and v > 0 for v in values)
    require(fits, name, "positive integers", values)
    return tuple(values)


def per_stage(name: str, values: Sequence[T] | None, n: int, default: Sequence[T]) -> tuple[T, ...]:
    """Returns a sequence of one value for each of `n` stages as a tuple; None is the default."""
    values = default[:n] if values is None else values
    fits = isinstance(values, Sequence) and len(values) == n
    if not fits:
        raise ValueError(f"{name} must have one value for each of the {n} stages, got {values!r}")
    return tuple(values)


def stage_blocks(depth: int | Sequence[int], num_stages: int | None = None) -> tuple[int, ...]:
    """Returns the blocks of the first `num_stages` stages, of a depth in `DEPTHS` or as given."""
    if isinstance(depth, int):
        check_one_of("depth", depth, DEPTHS, "or a tuple of blocks")
        blocks = DEPTHS[depth]
    else:
        blocks = positive_integers("blocks", depth)
        require(1 <= len(blocks) <= MAX_STAGES, "blocks", f"of 1 to {MAX_STAGES} stages", blocks)
        require(max(blocks) <= MOST_BLOCKS, "blocks", f"at most {MOST_BLOCKS} a stage", blocks)
    n = len(blocks) if num_stages is None else num_stages
    check_range("num_stages", n, 1, len(blocks))
    return blocks[:n]


def stage_indices(name: str, indices: Sequence[int] | None, n: int) -> tuple[int, ...]:
    """Returns indices of `n` stages, each once and in order, as a tuple; None is all of them."""
    indices = range(n) if indices is None else indices
    fits = isinstance(indices, Sequence) and all(is_integer(i) and 0 <= i < n for i in indices)
    fits = fits and list(indices) == sorted(set(indices)) != []
    require(fits, name, f"increasing stage indices from 0 to {n - 1}", indices)
    return tuple(indices)


def check_images(images: Tensor, in_channels: int, dtype: torch.dtype) -> None:
    """Checks that a trunk with that many channels, any where they are 0, and weights of that type
    takes the images.

    Raises:
        ValueError: their shape is not (N, in_channels, H, W) with H and W of at least 32.
        TypeError: they are not floating point, or not of the weights' type without autocast.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != (in_channels or shape[1]):
        raise ValueError(f"images must have shape (N, {in_channels or 'C'}, H, W), got {shape}")
    if shape[2] < MIN_SIZE or shape[3] < MIN_SIZE:
        raise ValueError(f"images must be at least {MIN_SIZE} x {MIN_SIZE}, got {shape}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point and normalised, got {images.dtype}")
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(
            f"images are {images.dtype} and the weights {dtype}: convert one or use autocast"
        )
