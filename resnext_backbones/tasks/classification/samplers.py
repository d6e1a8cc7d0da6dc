"""An epoch draws several augmentations of an image here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dataset import DefaultSampler

from resnext_backbones.adapters.registry import DATA_SAMPLERS
from resnext_backbones.engine.seeds import Draw


@DATA_SAMPLERS.register_module()
class RepeatedAugmentationSampler(DefaultSampler):
    """Draws `repeats` augmentations of each image one after another, over all ranks.

    As Hoffer et al. (2020). An epoch has as many steps as without, so it sees a part of the images.
    All other options are those of MMEngine's `DefaultSampler`.
    """

    def __init__(self, *args: Any, repeats: int = 4, **options: Any) -> None:
        super().__init__(*args, **options)
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self.repeats = repeats

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).tolist()
        needed = -(-self.total_size // self.repeats)
        order = (order * (needed // len(order) + 1))[:needed]
        draws = (Draw.of(index, copy) for index in order for copy in range(self.repeats))
        return islice(draws, self.rank, self.total_size, self.world_size)
