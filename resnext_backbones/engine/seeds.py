"""Random numbers depend on where they are drawn, and on nothing before.

For a sample that is the run's seed, the epoch and the sample's index, for a step the seed, the step
and the rank. So they are the same for any number of workers, and after a restart.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads this variable when it starts, and sums in one order only with a fixed workspace."""

WORKSPACE = ":4096:8"

KEPT_OPTIONS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn",
    "multiprocessing_context", "prefetch_factor", "persistent_workers",
)  # fmt: skip
"""A new `DataLoader` takes over these of another."""


def seed_of(*numbers: int) -> int:
    """Returns a seed of 32 bits for a place; near places have unlike seeds."""
    # Every sample takes one in the process that trains, and NumPy's SeedSequence ten times longer.
    place = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(place, digest_size=4).digest(), "little")


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, NumPy and PyTorch."""
    seed_cpu(seed)
    # Before CUDA has started, PyTorch would write down the stack for later, for milliseconds.
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def seed_cpu(seed: int) -> None:
    """Seeds all but the generators of GPUs, which no sample draws from.

    Nothing is put back, which would take many times longer than to seed: whatever draws at random
    in a run is seeded by its place.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


def be_deterministic() -> None:
    """Asks PyTorch, cuDNN and cuBLAS for operators that sum in one order.

    It must be called before anything is computed on a GPU. An operator that has no such way warns,
    and says its name, once.
    """
    os.environ.setdefault(CUBLAS, WORKSPACE)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)


class Draw(int):
    """An index of a data set carries what makes a sample of it."""

    copy = 0  # how often it was drawn before in the epoch, which makes another augmentation
    seed = 0  # once `Batches` has given one

    @classmethod
    def of(cls, index: int, copy: int = 0, seed: int = 0) -> Draw:
        draw = cls(index)
        draw.copy, draw.seed = copy, seed
        return draw


class Batches:
    """Gives the samples in the batches of another sampler, `inner`, their seeds; the next epoch
    begins with the batch `first`, and the one after it at its beginning.
    """

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner, self.seed, self.first = inner, seed, 0

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[list[Draw]]:
        first, self.first = self.first, 0
        epoch = getattr(self.inner.sampler, "epoch", 0)
        for batch in islice(self.inner, first, None):
            yield [self._draw(index, epoch) for index in batch]

    def _draw(self, index: int, epoch: int) -> Draw:
        copy = getattr(index, "copy", 0)
        return Draw.of(index, copy, seed_of(self.seed, epoch, int(index), copy))


class SeededDataset(Dataset):
    """Draws samples of a data set with the seeds that `Batches` gives them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        # Fetching many samples at once would pass by `__getitem__`.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, draw: Draw) -> Any:
        seed_cpu(draw.seed)
        return self.inner[int(draw)]


def reproducible(loader: DataLoader, seed: int) -> DataLoader:
    """Returns the loader with `Batches` of a `SeededDataset`; a stream of samples as it is."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    return DataLoader(
        SeededDataset(loader.dataset),
        batch_sampler=Batches(loader.batch_sampler, seed),
        **{name: getattr(loader, name) for name in KEPT_OPTIONS},
    )
