"""Whether images and head tell the same classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnext_backbones.errors import InputError


def check_classes(train: Any, val: Any, num_classes: int) -> None:
    """Compares the classes of two loaders with each other, and their number with the head's.

    Args:
        train, val: data loaders, whose data sets have `metainfo["classes"]`.
        num_classes: of the head.

    Raises:
        InputError: they differ.
    """
    first, second = (loader.dataset.metainfo["classes"] for loader in (train, val))
    if first != second:
        lost = sorted(set(first) ^ set(second)) or "the same ones in another order"
        raise InputError(f"the images to train on and to evaluate with differ in classes: {lost}")
    check_count(first, num_classes)


def check_count(classes: Sequence[str], num_classes: int) -> None:
    """Compares the number of the images' classes with the head's.

    Raises:
        InputError: they differ.
    """
    if len(classes) != num_classes:
        raise InputError(
            f"the images have {len(classes)} classes, and model.num_classes is {num_classes}; set "
            "it with --cfg-options"
        )
