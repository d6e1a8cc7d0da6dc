"""A training step's memory: of fake tensors, or fitted to real steps with small images.

Fake tensors have shapes and no values, so the step of any size costs no memory, and all operators
of forward pass, losses and backward pass are seen as they are. Where a network asks what cannot be
answered so, as compiled operators of others do, two real steps with small images are taken: what
an image adds is a part that its regions have whatever its size, and one in proportion to its area.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from resnext_backbones.engine.begin import averages_weights
from resnext_backbones.engine.plan.answers import answered
from resnext_backbones.engine.plan.step import Footprint, Ready, build, fake_tensors, take_step
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError

Make = Callable[[int, tuple[int, int]], Callable[[], Any]]
"""Returns what makes a batch, of so many images of a size."""

TYPES = {"": None, "bf16": torch.bfloat16, "fp16": torch.float16}

SHARES = 5, 3
"""The real steps have images whose sides are so many times smaller."""

MULTIPLE, LEAST = 32, 64
"""The sides of these are multiples, and not smaller than so many pixels."""


def footprint(
    cfg: Config,
    make: Make,
    images: int,
    size: tuple[int, int],
    amp: str,
    *,
    pin: Callable[[nn.Module], None] = lambda _: None,
) -> tuple[Footprint, str]:
    """Returns the memory of a training step, and why it was fitted; "" where it was not.

    Args:
        make: makes its batch.
        images, size: of the batch, (H, W).
        amp: "", bf16 or fp16.
        pin: settles what a network draws at random.

    Raises:
        InputError: an argument of the config is wrong, or no step can be taken.
    """
    kind = TYPES[amp]
    try:
        with fake_tensors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's of what is fake; a run says the others
            ready = answered(lambda: _built(cfg, pin))
            data = make(images, size)
            taken = answered(lambda: take_step(ready, data, amp=kind))
        why = ""
    except InputError:
        raise
    except Exception as error:  # whatever an operator that knows no fake tensors raises
        taken = _fitted(cfg, make, images, size, kind, pin)
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if any(dicts_with(cfg.get("custom_hooks"), averages_weights)):
        averaged = taken.parameters
        taken = taken._replace(averaged=averaged, peak=taken.peak + averaged)
    return taken, why


def _built(cfg: Config, pin: Callable[[nn.Module], None]) -> Ready:
    ready = build(cfg)
    pin(ready.model)
    return ready


def _fitted(
    cfg: Config,
    make: Make,
    images: int,
    size: tuple[int, int],
    amp: torch.dtype | None,
    pin: Callable[[nn.Module], None],
) -> Footprint:
    """Returns the memory of a step from two real ones with small images, one or two each: some
    norms take no batch of one.
    """
    number = min(images, 2)
    try:
        ready = _built(cfg, pin)
        steps = []
        for sides in _small_sizes(size):
            taken = take_step(ready, make(number, sides), amp=amp)
            steps.append((sides[0] * sides[1], taken))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"config {cfg.filename}: no training step could be taken to measure it: "
            f"{type(error).__name__}: {error}"
        ) from error
    (small, first), (large, second) = steps

    def grown(less: int, more: int) -> int:
        by_area = (more - less) / (large - small)
        return round(images / number * (less + by_area * (size[0] * size[1] - small)))

    kept = grown(first.kept, second.kept)
    moving = grown(first.moving, second.moving)
    # With large images the peak is where most is kept, and with small ones where all gradients are.
    peak = max(second.fixed, second.fixed - second.gradients + second.gradients_then + moving)
    return second._replace(kept=kept, peak=peak, moving=moving)


def _small_sizes(size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns two sizes (H, W), the second larger than the first."""
    small, large = (_smaller(size, share) for share in SHARES)
    if small == large:
        large = small[0] + MULTIPLE, small[1] + MULTIPLE
    return small, large


def _smaller(size: tuple[int, int], share: int) -> tuple[int, int]:
    height, width = (max(LEAST, round(side / share / MULTIPLE) * MULTIPLE) for side in size)
    return height, width
