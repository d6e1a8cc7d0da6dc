"""Training that can go on from the middle of an epoch as if it had never stopped.

What is drawn at random depends on where it is drawn and on nothing before: for a sample on the
run's seed, the epoch and the sample's index, for a step on the seed, the step and the rank. So it
is the same for any number of workers, and after a restart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop as MMEngineEpochBasedTrainLoop
from torch.utils.data import DataLoader, IterableDataset

from resnext_backbones.adapters.registry import LOOPS

KEPT_OPTIONS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn",
    "multiprocessing_context", "prefetch_factor", "persistent_workers",
)  # fmt: skip
"""Of a `DataLoader`, beside the data set and what draws from it."""

EPOCH_LENGTH = "batches_in_an_epoch"
"""Under this name a checkpoint says how many there were."""

KEPT_SCALARS = 10_000
"""Of each value that is logged at every step. MMEngine copies all that it keeps, a million, at each
of them."""


def seed_of(*numbers: int) -> int:
    """A seed for the place that these numbers name; near places have unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators for the length of a block, and put them back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class Draw(int):
    """An index of a data set, with the number of times that it was drawn before in the epoch.

    Attributes:
        copy: that number; it makes another augmentation.
        seed: of the sample, once `Batches` has given one.
    """

    copy = 0
    seed = 0

    @classmethod
    def of(cls, index: int, copy: int = 0, seed: int = 0) -> Draw:
        """An index with what belongs to it."""
        draw = cls(index)
        draw.copy, draw.seed = copy, seed
        return draw


class Batches:
    """A batch sampler that gives each sample its seed, and can begin in the middle of an epoch.

    Attributes:
        inner: the batch sampler whose batches these are.
        first: the batch that the next epoch begins with; the one after it begins with the first.
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


class SeededDataset:
    """A data set whose samples are drawn with the seeds that `Batches` gives them."""

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
        with seeded(draw.seed):
            return self.inner[int(draw)]


def reproducible(loader: DataLoader, seed: int) -> DataLoader:
    """The loader with `Batches` of a `SeededDataset`; a stream of samples is left as it is."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    return DataLoader(
        SeededDataset(loader.dataset),  # type: ignore[arg-type]
        batch_sampler=Batches(loader.batch_sampler, seed),
        **{name: getattr(loader, name) for name in KEPT_OPTIONS},
    )


@LOOPS.register_module()
class EpochBasedTrainLoop(MMEngineEpochBasedTrainLoop):
    """MMEngine's loop, which goes on from any step as if it had never stopped."""

    dataloader: Any
    _iter: int

    def __init__(self, runner: Any, dataloader: Any, max_epochs: int, **options: Any) -> None:
        super().__init__(runner, dataloader, max_epochs, **options)
        self.dataloader = reproducible(self.dataloader, runner.seed)

    def run(self) -> Any:
        """Train, with the seed of the run that goes on, if one does."""
        info = self.runner.message_hub.runtime_info  # as it was when the checkpoint was written
        if info.get(EPOCH_LENGTH, len(self.dataloader)) != len(self.dataloader):
            self._begin_anew(f"had {info[EPOCH_LENGTH]} before")
        self.runner.message_hub.update_info(EPOCH_LENGTH, len(self.dataloader))
        batches = self.dataloader.batch_sampler
        if isinstance(batches, Batches):
            batches.seed = self.runner.seed
            if hasattr(batches.sampler, "seed"):  # it was built before the checkpoint was read
                batches.sampler.seed = self.runner.seed
        return super().run()

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        first = self._iter - self._epoch * len(self.dataloader)
        if not 0 <= first <= len(self.dataloader):  # of a checkpoint that does not say its length
            first = self._begin_anew("had another number before")
        for history in self.runner.message_hub.log_scalars.values():
            history.max_length = KEPT_SCALARS
        if isinstance(self.dataloader.batch_sampler, Batches):
            self.dataloader.batch_sampler.first = first
        elif hasattr(self.dataloader.dataset, "start"):  # a stream that can begin in its middle
            self.dataloader.dataset.start(self.runner.seed, self._epoch, first)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for number, batch in enumerate(self.dataloader, first):
            self.run_iter(number, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _begin_anew(self, before: str) -> int:
        """Go to the beginning of the epoch, where it has another number of batches than it had."""
        self.runner.logger.warning(
            f"an epoch has {len(self.dataloader)} batches, and {before} (another batch size, or "
            f"other images): epoch {self._epoch + 1} begins anew"
        )
        self._iter = self._epoch * len(self.dataloader)
        return 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One step, with generators that its number seeds."""
        seed_everything(seed_of(self.runner.seed, self._iter, get_rank()))
        super().run_iter(idx, data_batch)
