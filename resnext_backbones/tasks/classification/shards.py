"""Images are read from tar files, local or over HTTP, where they no longer fit as files."""

from __future__ import annotations

import json
import random
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from mmengine.dist import get_dist_info
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.data.find_images import is_left_over
from resnext_backbones.data.pixels import open_image
from resnext_backbones.engine.seeds import seed_cpu, seed_of
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import STAND_IN_SIZE, build_pipeline
from resnext_backbones.tasks.classification.sources import read_class_list

IMAGE_KEYS = ("jpg", "jpeg", "png", "webp")


@DATASETS.register_module()
class ShardedImages(IterableDataset):
    """Reads images and the numbers of their classes (`KEY.jpg`, `KEY.cls`) from tar files.

    Each epoch puts the shards in another order. Ranks, and the workers within them, take equal
    parts of it, which begin and end within shards: each sample is seen once an epoch. Where
    the ranks' parts cannot be equal, a few samples are seen twice in training.

    Args:
        urls: paths and addresses; in a text, braces stand for ranges: `train-{000..127}.tar`.
        pipeline: transforms, from an image of Pillow's to a tensor (3, H, W) of bytes.
        batch_size: of the loader, which counts in batches.
        sizes: a JSON file from a shard's file name to its number of samples; None counts them,
            which needs files on this machine.
        class_list: a file of the classes by number; or else `num_classes`, without names.
        shuffle: samples that are kept to draw the next one from; 0 leaves their order.
        train: shuffle, and make the ranks' parts equal.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        pipeline: Sequence[dict[str, Any]],
        *,
        batch_size: int,
        sizes: str | None = None,
        class_list: str | None = None,
        num_classes: int | None = None,
        shuffle: int = 2000,
        train: bool = True,
    ) -> None:
        from webdataset.shardlists import expand_urls

        self.urls = expand_urls(urls) if isinstance(urls, str) else list(urls)
        self.sizes = read_sizes(self.urls, sizes) if sizes else list(map(count_samples, self.urls))
        self.total = sum(self.sizes)  # samples of all ranks together, each counted once
        self.transform = build_pipeline(pipeline)
        self.batch_size, self.shuffle, self.train = batch_size, shuffle if train else 0, train
        if (class_list is None) == (num_classes is None):
            raise InputError("shards: give either class_list or num_classes")
        names = read_class_list(class_list) if class_list else map(str, range(num_classes or 0))
        self.metainfo = {"classes": tuple(names)}
        # Workers that stay from epoch to epoch see what the loop writes here: seed, epoch, batch.
        self._place = torch.zeros(3, dtype=torch.int64).share_memory_()

    def start(self, seed: int, epoch: int, first: int) -> None:
        """Says where the next pass begins: in which epoch, and at which of its batches."""
        self._place.copy_(torch.tensor([seed, epoch, first]))

    def check_loader(self, loader: DataLoader) -> None:
        """Raises InputError where a loader counts in other batches; the last may be a part of one:
        samples would be left out, or a resumed run go on elsewhere.
        """
        if loader.batch_size != self.batch_size:
            raise InputError(
                f"shards: dataset.batch_size is {self.batch_size} and the loader's "
                f"{loader.batch_size}; give both the same"
            )
        if loader.drop_last:
            raise InputError("shards: each worker would leave samples out; set drop_last=False")

    def _part(self) -> tuple[int, int]:
        """Returns this rank's samples, from one number up to another, of an epoch's order."""
        rank, ranks = get_dist_info()
        if self.train:
            count = -(-self.total // ranks)
            return rank * count, (rank + 1) * count
        return self.total * rank // ranks, self.total * (rank + 1) // ranks

    def __len__(self) -> int:
        begin, end = self._part()
        return end - begin

    def __iter__(self) -> Iterator[dict[str, Any]]:
        seed, epoch, first = self._place.tolist()
        info = get_worker_info()
        workers = info.num_workers if info else 1
        # The loader asks its workers in turn, and begins with the first of them.
        role = ((info.id if info else 0) + first) % workers
        begin, end = self._part()
        batches, more = divmod(-(-(end - begin) // self.batch_size), workers)
        own = begin + self.batch_size * (role * batches + min(role, more))
        count = self.batch_size * (batches + (role < more))
        stream = self._raw(seed, epoch, own, min(own + count, end))
        if self.shuffle:
            from webdataset.filters import shuffle

            generator = random.Random(seed_of(seed, epoch, own))
            stream = shuffle(self.shuffle, self.shuffle, rng=generator)(stream)
        done = max(0, -(-(first - role) // workers))
        return self._decoded(islice(stream, done * self.batch_size, None), seed, epoch)

    def _raw(self, seed: int, epoch: int, begin: int, end: int) -> Iterator[dict[str, Any]]:
        """Yields samples as they lie in the shards; behind the last one comes the first again."""
        order = list(range(len(self.urls)))
        if self.train:
            random.Random(seed_of(seed, epoch)).shuffle(order)
        passed = 0
        for shard in cycle(order):
            if passed >= end:
                return
            low, high = max(0, begin - passed), min(self.sizes[shard], end - passed)
            if low < high:
                yield from self._shard(shard, low, high)
            passed += self.sizes[shard]

    def _shard(self, number: int, low: int, high: int) -> Iterator[dict[str, Any]]:
        """Yields the samples of one shard from one number up to another."""
        from webdataset.tariterators import tarfile_samples

        url, found = self.urls[number], low
        try:
            samples = tarfile_samples(iter([{"url": url}]), select_files=_is_taken)
            for sample in islice(samples, low, high):
                found += 1
                yield sample
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"shard {url}: cannot be read: {error}") from error
        if found < high:
            raise InputError(
                f"shard {url}: has {found} samples, and {self.sizes[number]} were expected; "
                "fix the shard, or dataset.sizes"
            )

    def _decoded(
        self, stream: Iterable[dict[str, Any]], seed: int, epoch: int
    ) -> Iterator[dict[str, Any]]:
        """Yields samples for a batch. In training a good one stands in for those before it that are
        broken; in evaluation a black image, as large as another one.
        """
        broken: list[str] = []
        sample: dict[str, Any] = {}
        size: tuple[int, int] | None = None
        early: list[dict[str, Any]] = []  # broken ones before any that says a size
        for raw in stream:
            name = f"{raw['__url__']}: {raw['__key__']}"
            seed_cpu(seed_of(seed, epoch, zlib.crc32(name.encode())))
            content = next((raw[key] for key in IMAGE_KEYS if key in raw), b"")
            inputs = None
            try:
                with open_image(content, name) as image:
                    inputs, size = self.transform(image), image.size
            except InputError as error:
                broken.append(str(error))
                if self.train:
                    continue
                if size is None:
                    early.append({"labels": self._label(raw), "name": name, "broken": broken.pop()})
                    continue
            yield from (self._black(size) | each for each in early)
            early = []
            inputs = self._black(size)["inputs"] if inputs is None else inputs
            sample = {"inputs": inputs, "labels": self._label(raw), "name": name}
            if self.train:
                yield from [sample | {"broken": ""}] * len(broken)
            yield sample | {"broken": "\n".join(broken)}
            broken = []
        if sample:  # behind the last good one
            yield from [sample | {"broken": "\n".join(broken)}] * len(broken)
        yield from (self._black(None) | each for each in early)

    def _black(self, size: tuple[int, int] | None) -> dict[str, Any]:
        return {"inputs": self.transform(Image.new("RGB", size or STAND_IN_SIZE))}

    def _label(self, raw: dict[str, Any]) -> torch.Tensor:
        text = raw.get("cls", b"").decode(errors="replace").strip()
        count = len(self.metainfo["classes"])
        if not text.isdigit() or int(text) >= count:
            raise InputError(
                f"image {raw['__key__']}: class {text!r} is not a number from 0 to {count - 1}"
            )
        return torch.tensor(int(text))


def _is_taken(name: str) -> bool:
    return not is_left_over(name)


def read_sizes(urls: Sequence[str], path: str) -> list[int]:
    """Returns the numbers of samples that a file says; an InputError where it does not."""
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        return [int(known[PurePosixPath(url).name]) for url in urls]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"sizes {path}: does not say the size of each shard: {error}") from error


def count_samples(url: str) -> int:
    """Returns how many samples a shard on this machine has; an InputError where it is not there."""
    if not Path(url).is_file():
        raise InputError(
            f"shard {url}: no file on this machine; for shards elsewhere name a file with their "
            "sizes: dataset.sizes"
        )
    try:
        with tarfile.open(url) as archive:
            suffixes = [Path(name).suffix for name in archive.getnames() if _is_taken(name)]
    except tarfile.TarError as error:
        raise InputError(f"shard {url}: is damaged: {error}") from error
    return sum(suffix.lstrip(".").lower() in IMAGE_KEYS for suffix in suffixes)
