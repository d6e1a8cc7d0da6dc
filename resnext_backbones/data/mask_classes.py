"""Masks of classes are looked at before the first step: whether there are classes to tell apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.errors import InputError, some

SECONDS = 10.0
"""What was not looked at by then is left to the training."""


def check_mask_classes(
    what: str,
    masks: Sequence[Callable[[], NDArray[np.integer]]],
    num_classes: int,
    ignored: int,
    *,
    warn: Callable[[str], None],
    seconds: float = SECONDS,
) -> None:
    """Looks at masks, from all over a data set, until each class was seen or the time is over.

    Args:
        what: names the masks in messages.
        masks: each returns its classes, (H, W).
        ignored: the value of pixels without a class.
        warn: is told which classes are in none of the masks.

    Raises:
        InputError: all masks show one class alone, or none; a network would learn nothing, and
            score as if it had.
    """
    end, seen, count = time.monotonic() + seconds, set[int](), 0
    for index in _spread(len(masks)):
        seen.update(np.unique(masks[index]()).tolist())
        count += 1
        if seen >= set(range(num_classes)) or time.monotonic() > end:
            break
    classes = sorted(seen - {ignored})
    if len(classes) > 1:
        absent = [str(c) for c in range(num_classes) if c not in seen]
        if absent and count == len(masks):
            warn(
                f"{what}: {len(absent)} of the {num_classes} classes are in none of them: "
                f"{some(absent)}"
            )
        return
    if count < len(masks):
        found = f"{count} of {len(masks)} were looked at in {seconds:.0f} s"
        warn(f"{what}: {found}, and show one class")
        return
    shown = f"class {classes[0]} alone" if classes else "no class"
    hint = (
        f"; {ignored} stands for pixels without a class: write 1 for the second class"
        if ignored in seen
        else ""
    )
    raise InputError(
        f"{what}: the {len(masks)} of them show {shown}, and the network is to tell {num_classes} "
        f"classes apart{hint}"
    )


def _spread(count: int) -> list[int]:
    """Returns all places in an order that is all over a list from the first ones on."""
    step = max(int(count**0.5), 1)
    return [place for start in range(step) for place in range(start, count, step)]
