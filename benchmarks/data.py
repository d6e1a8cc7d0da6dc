"""Measures what pretraining's input pipeline delivers, beside what decoding allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from mmengine.config import Config
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks import overhead
from benchmarks.provenance import provenance
from resnext_backbones.adapters.registry import TRANSFORMS
from resnext_backbones.data.pixels import open_image
from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.engine.processes import share_batches_by_name
from resnext_backbones.engine.seeds import reproducible
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.data import collate
from resnext_backbones.tasks.classification.transforms import RandomResizedCrop

RECIPE = "imagenet/paper"
REFERENCE = "decode and resize"
"""What the ratios are to."""


class Photographs(Dataset):
    """Reads the JPEGs in a folder, once or again and again, each through a transform."""

    def __init__(self, files: list[Path], transform: Callable[[Image.Image], Any], times: int = 1):
        self.files, self.transform, self.times = files, transform, times

    def __len__(self) -> int:
        return len(self.files) * self.times

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = str(self.files[index % len(self.files)])
        with open_image(name) as image:
            return {"inputs": self.transform(image), "labels": 0, "name": name, "broken": ""}


def _decoded(image: Image.Image) -> int:
    """Decodes all of it; a number stands for it, so that handing it on costs nothing."""
    return image.convert("RGB").size[0]


def pipelines(config: str) -> dict[str, Callable[[Image.Image], Any]]:
    """Returns what is measured, by name: each does all that the one before it does, and more.

    Args:
        config: a recipe, whose training pipeline is the last one.
    """
    cfg = Config.fromfile(find_config(config))
    steps = [TRANSFORMS.build(dict(d)) for d in cfg.train_dataloader.dataset.pipeline]
    crops = [step for step in steps if isinstance(step, RandomResizedCrop)]
    return {
        "decode": _decoded,
        REFERENCE: v2.Compose([*crops, v2.PILToTensor()]),
        "decode and augment": v2.Compose(steps),
    }


def measure(
    root: Path,
    config: str = RECIPE,
    *,
    cores: int,
    turns: int,
    batch: int = 32,
    seconds: float = 3.0,
    steps: int = 300,
) -> dict[str, Any]:
    """Measures images a second, in one process of one thread and in as many workers as cores.

    The full loader is what a run takes: samples seeded by their place, and collated. `runner` is
    what a run takes beside its steps.

    Args:
        root: a folder of JPEGs, at any depth.
        turns: of each; they go round.
        seconds: that a turn takes at least.
        steps: of that run.

    Raises:
        InputError: there are no JPEGs.
    """
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise InputError(f"--data-root {root}: has no JPEG images")
    surroundings = provenance("cpu")  # whose threads are the machine's, not those of a process here
    torch.set_num_threads(1)
    ways: dict[tuple[str, int], Iterator[int]] = {}
    for name, transform in pipelines(config).items():
        ways[name, 1] = _alone(Photographs(files, transform))
        ways[name, cores] = _loaded(files, transform, batch, cores, whole=False)
    last = list(pipelines(config).values())[-1]
    ways["full loader", 1] = _loaded(files, last, batch, 1, whole=True)
    ways["full loader", cores] = _loaded(files, last, batch, cores, whole=True)
    rates: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, stream in ways.items():
            rates[way].append(_rate(stream, seconds))
    medians = {way: statistics.median(values) for way, values in rates.items()}
    rows = [
        {
            "what": name,
            "cores": workers,
            "images_per_second": medians[name, workers],
            "ratio": medians[name, workers] / medians[REFERENCE, workers],
            "turns": rates[name, workers],
        }
        for name, workers in ways
    ]
    sizes = [path.stat().st_size for path in files]
    return {
        "recipe": config,
        "images": {"count": len(files), "mean_bytes": round(statistics.mean(sizes))},
        "rows": rows,
        "runner": overhead.measure(files, config, workers=max(1, cores - 1), batch=8, steps=steps),
        **surroundings,
    }


def _alone(dataset: Photographs) -> Iterator[int]:
    while True:
        for index in range(len(dataset)):
            dataset[index]
            yield 1


def _loaded(
    files: list[Path], transform: Any, batch: int, workers: int, *, whole: bool
) -> Iterator[int]:
    """Yields sizes of batches. A loader lives from its first turn to the end, and its workers wait
    for their turn, once they have filled their queues.
    """
    share_batches_by_name()  # as runs do
    dataset = Photographs(files, transform, times=1000)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        collate_fn=collate if whole else len,
    )
    return (
        len(item["inputs"]) if whole else item
        for item in (reproducible(loader, seed=0) if whole else loader)
    )


def _rate(stream: Iterator[int], seconds: float) -> float:
    """Returns images a second, once what lay ready is used up."""
    ready = time.perf_counter() + seconds / 3
    while time.perf_counter() < ready:
        next(stream)
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        count += next(stream)
    return count / passed
