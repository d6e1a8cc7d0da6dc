"""A training step's memory: of fake tensors, or fitted to real steps with small images.

Fake tensors have shapes and no values, so the step of any size costs no memory, and all operators
of forward pass, losses and backward pass are seen as they are. Where a network asks what cannot be
answered so, as compiled operators of others do, two real steps with small images are taken: what
an image adds is a part that its regions have whatever its size, and one in proportion to its area.
"""

from __future__ import annotations

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
    accumulates: bool = False,
    pin: Callable[[nn.Module], None] = lambda _: None,
) -> tuple[Footprint, str]:
    """Returns the memory of a training step, and why it was fitted; "" where it was not.

    Args:
        make: makes its batch.
        images, size: of the batch, (H, W).
        amp: "", bf16 or fp16.
        accumulates: as of `take_step`.
        pin: settles what a network draws at random.

    Raises:
        InputError: an argument of the config is wrong, or no step can be taken.
    """
    kind = TYPES[amp]
    try:
        with fake_tensors():
            ready = answered(lambda: _built(cfg, pin))
            data = make(images, size)
            taken = answered(lambda: take_step(ready, data, amp=kind, accumulates=accumulates))
        why = ""
    except InputError:
        raise
    except Exception as error:  # whatever an operator that knows no fake tensors raises
        taken = _fitted(cfg, make, images, size, kind, accumulates, pin)
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
    accumulates: bool,
    pin: Callable[[nn.Module], None],
) -> Footprint:
    """Returns the memory of a step from two real ones, with an image each."""
    try:
        ready = _built(cfg, pin)
        steps = []
        for share in SHARES:
            sides = _smaller(size, share)
            taken = take_step(ready, make(1, sides), amp=amp, accumulates=accumulates)
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
        return round(images * (less + by_area * (size[0] * size[1] - small)))

    kept = grown(first.kept, second.kept)
    above = grown(first.peak - first.fixed, second.peak - second.fixed)
    return second._replace(kept=kept, peak=second.fixed + above)


def _smaller(size: tuple[int, int], share: int) -> tuple[int, int]:
    height, width = (max(LEAST, round(side / share / MULTIPLE) * MULTIPLE) for side in size)
    return height, width
