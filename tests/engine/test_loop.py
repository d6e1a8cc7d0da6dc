"""What is drawn at random depends on the place alone."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.dataset import DefaultSampler

from resnext_backbones.engine.seeds import Batches, Draw, SeededDataset, reproducible, seed_of


class Drawing(Dataset):
    """Its samples are an index and a number from each generator."""

    metainfo = {"classes": ("a",)}  # noqa: RUF012

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        assert type(index) is int
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def loader(**options) -> DataLoader:
    dataset = Drawing()
    sampler = DefaultSampler(dataset, seed=5)
    return reproducible(DataLoader(dataset, batch_size=3, sampler=sampler, **options), seed=7)


def batches(loader: DataLoader, epoch: int = 0) -> list:
    loader.batch_sampler.sampler.set_epoch(epoch)
    return [torch.stack([values.double() for values in batch]) for batch in loader]


def test_workers_and_earlier_epochs_change_nothing() -> None:
    here, workers = loader(), loader(num_workers=2, persistent_workers=True)
    first, second = batches(here), batches(here, 1)
    assert len(first) == 4
    for found, expected in ((batches(workers), first), (batches(workers, 1), second)):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not torch.equal(first[0], second[0])


def test_an_epoch_goes_on_in_its_middle() -> None:
    whole = loader()
    expected = batches(whole)
    whole.batch_sampler.first = 2
    found = batches(whole)
    assert [torch.equal(a, b) for a, b in zip(found, expected[2:], strict=True)] == [True, True]
    assert len(batches(whole)) == 4  # the next epoch begins at its beginning


def test_a_draw_comes_to_a_worker_as_it_is() -> None:
    draw = pickle.loads(pickle.dumps(Draw.of(4, copy=2, seed=9)))
    assert (draw, draw.copy, draw.seed) == (4, 2, 9)


def test_copies_of_an_image_are_drawn_unlike() -> None:
    inner = BatchSampler(RandomSampler(range(1)), 1, False)
    inner.sampler = [Draw.of(0), Draw.of(0, copy=1)]
    seeds = {draw.seed for batch in Batches(inner, 0) for draw in batch}
    assert len(seeds) == 2


def test_near_places_have_unlike_seeds() -> None:
    assert len({seed_of(0, epoch, index) for epoch in range(50) for index in range(50)}) == 2500


def test_what_belongs_to_the_data_set_stays_there() -> None:
    dataset = SeededDataset(Drawing())
    assert dataset.metainfo == {"classes": ("a",)}
    assert pickle.loads(pickle.dumps(dataset)).metainfo == dataset.metainfo
    assert not hasattr(dataset, "__getitems__")
    sampler = BatchSampler(SequentialSampler(range(4)), 2, False)
    assert Batches(sampler, 0).batch_size == 2
