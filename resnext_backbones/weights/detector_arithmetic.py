"""What a detector's values become in another framework: rows by classes, pixels, and an epsilon.

Each step is a function of tensors and has its inverse beside it, or is its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.preprocessing import Preprocessing

ABSENT = -1e4
"""The logit of a class that an image never shows: its probability is 0 in float32 and in half."""

UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_ROWS = 91
COCO_IDS = tuple(i for i in range(1, COCO_ROWS) if i not in UNUSED_IDS)
"""COCO's 80 classes have ids up to 90; torchvision's published detectors have a row for each id,
and one for the background."""

CLASS_PARTS = ("box.logits.", "box.deltas.", "mask.logits.")
"""Tensors of these have rows by classes: the first also one of the background, the second four of
each class."""


def spread(values: Tensor, places: Sequence[int], count: int, fill: float = 0.0) -> Tensor:
    """Returns rows for `count` classes, of which those at `places` hold the given ones, in this
    order, and all others `fill`; `values` (len(places) * k, ...) become (count * k, ...).
    """
    given = values.unflatten(0, (len(places), -1))
    rows = given.new_full((count, *given.shape[1:]), fill)
    rows[list(places)] = given
    return rows.flatten(0, 1)


def gathered(values: Tensor, places: Sequence[int], count: int) -> Tensor:
    """Returns what `spread` was given: the rows (count * k, ...) of the classes at `places`."""
    return values.unflatten(0, (count, -1))[list(places)].flatten(0, 1)


def class_places(classes: int, *, by_coco_id: bool) -> tuple[int, ...]:
    """Returns where each class stands behind a background that is first."""
    return COCO_IDS if by_coco_id else tuple(range(1, classes + 1))


def background_first(
    heads: Mapping[str, Tensor], places: Sequence[int], count: int
) -> dict[str, Tensor]:
    """Returns heads with `count` rows by class, the background first, classes at `places`, and
    nothing found of all others; from heads with the background last.
    """
    return {
        name: spread(value, _order(name, places), count, _fill(name))
        if name.startswith(CLASS_PARTS)
        else value
        for name, value in heads.items()
    }


def background_last(
    heads: Mapping[str, Tensor], places: Sequence[int], count: int
) -> dict[str, Tensor]:
    """Returns what `background_first` was given."""
    return {
        name: gathered(value, _order(name, places), count)
        if name.startswith(CLASS_PARTS)
        else value
        for name, value in heads.items()
    }


def _order(name: str, places: Sequence[int]) -> tuple[int, ...]:
    """Returns the places of a tensor's rows, of which the last may be the background's."""
    return (*places, 0) if name.startswith("box.logits.") else tuple(places)


def _fill(name: str) -> float:
    return ABSENT if name == "box.logits.bias" else 0.0


def for_pixels(weight: Tensor, held: Preprocessing, wanted: Preprocessing) -> Tensor:
    """Returns a first convolution for other pixels, whose maps are those of the old one.

    Channels that are turned are moved, bit by bit; another standard deviation scales the weights,
    which rounds. Swapping `held` and `wanted` is the inverse.

    Args:
        weight: (N, 3, h, w).

    Raises WeightsError where the means are of other colours: the zeros round an image stand for
    the mean, and would be another colour.
    """
    if held == wanted:
        return weight
    turned = held.order != wanted.order
    mean, std = (values[::-1] if turned else values for values in (held.mean, held.std))
    colours = {held.order, wanted.order} <= {"RGB", "BGR"} and weight.shape[1] == 3
    if not colours or not all(map(_close, mean, wanted.mean)):
        raise WeightsError(
            f"pixels of {wanted} cannot take the place of {held}: the means must be those of the "
            "same colours, since the zeros that convolutions put round an image stand for the mean"
        )
    weight = weight.flip(1) if turned else weight
    if all(map(_close, std, wanted.std)):
        return weight
    ratios = [new / old for new, old in zip(wanted.std, std, strict=True)]
    scale = torch.tensor(ratios, dtype=torch.float64).reshape(1, -1, 1, 1)
    return (weight.double() * scale).to(weight.dtype)


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-6)


def with_eps(scale: Tensor, variance: Tensor, held: float, wanted: float) -> Tensor:
    """Returns the scale of a norm whose eps is `wanted`, which does what the given one does with
    `held`; rounded. The statistics stay. Swapping the two is the inverse.
    """
    variance = variance.double()
    return (scale.double() * ((variance + wanted) / (variance + held)).sqrt()).to(scale.dtype)
