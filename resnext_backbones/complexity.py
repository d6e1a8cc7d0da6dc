"""A network costs parameters, multiply-adds, and the memory of a training step.

`complexity.json` beside this file is the record of every variant. What counts anew imports PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage, nn

RECORD = Path(__file__).with_name("complexity.json")

IMAGES, SIZE = 2, (800, 1344)
"""The memory on record is of so many images, (H, W), as detectors train with them."""

COPIES = 3
"""A training step has of each parameter its value, its gradient and its momentum."""

FLOAT = 4


@dataclass(frozen=True)
class Cost:
    """Holds a row of the record.

    Attributes:
        parameters: of the classifier.
        trunk_parameters: without `fc`.
        multiply_adds: of convolutions and `fc`, for an image of 224 x 224, or 32 x 32 where the
            stem is for these.
        trunk_multiply_adds: of convolutions.
        kept_bytes: what a step keeps for the backward pass, for `IMAGES` of `SIZE`, as `kept_bytes`
            counts it; None where the stem is for small images.
    """

    parameters: int
    trunk_parameters: int
    multiply_adds: int
    trunk_multiply_adds: int
    kept_bytes: int | None = None


@cache
def costs() -> dict[str, Cost]:
    """Returns the record, by the names of the variants."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: Cost(**row) for name, row in record.items()}


def training_bytes(
    variant: str, *, images: int = IMAGES, size: tuple[int, int] = SIZE
) -> int | None:
    """Returns what a trunk alone takes in a training step in float32: what it keeps for the
    backward pass, and its parameters, with gradients and momentum; None of one for small images.
    """
    cost = costs()[variant]
    if cost.kept_bytes is None:
        return None
    on_record = (images, size) == (IMAGES, SIZE)
    kept = cost.kept_bytes if on_record else kept_bytes(variant, images=images, size=size)
    return kept + COPIES * FLOAT * cost.trunk_parameters


@cache
def kept_bytes(variant: str, *, images: int, size: tuple[int, int]) -> int:
    """Returns the bytes that the forward pass of a trunk keeps for the backward pass, as detectors
    train it: in float32, the stem, stage 1 and all statistics of norms frozen.

    It computes on tensors without values, which takes less than a second.
    """
    import torch

    from resnext_backbones.build import build_backbone

    with torch.device("meta"):
        trunk = build_backbone(variant, frozen_stages=1, norm_eval=True).train()
        batch = torch.empty(images, 3, *size)
    with torch.enable_grad():
        return kept_by(trunk, lambda: trunk(batch))


def kept_by(module: nn.Module, forward: Callable[[], object]) -> int:
    """Returns the bytes of the distinct storages that `forward` keeps for the backward pass, but
    for the parameters of `module`; on the device meta too, which has no addresses.
    """
    from torch.autograd.graph import saved_tensors_hooks

    own = {p.untyped_storage()._cdata for p in module.parameters()}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held: its number must not become another's
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = forward()  # held: what it keeps must not make room for what it keeps next
    del outputs
    return sum(storage.nbytes() for storage in kept.values())
