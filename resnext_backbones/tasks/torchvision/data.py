"""The data of a run, and what is counted on it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, default_collate

from resnext_backbones.data.coco_table import coco_table
from resnext_backbones.engine.processes import is_main_process, rank_and_world_size
from resnext_backbones.io import write_whole
from resnext_backbones.tasks.torchvision.instances import (
    TRAIN,
    VAL,
    Instances,
    categories,
    coco_split,
    collate,
)
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.tasks.torchvision.pixels import (
    VOC_CLASSES,
    Pixels,
    Sample,
    coco_samples,
    folder_samples,
    voc_samples,
)
from resnext_backbones.tasks.torchvision.scores import (
    as_results,
    coco_scores,
    confusion,
    pixel_scores,
    pixel_table,
)
from resnext_backbones.tasks.torchvision.settings import Settings

RESULTS = "detections.json"


class Data(ABC):
    """Two splits of a data set.

    Attributes:
        classes: names; of instances those of the labels from 1 on, of pixels all.
        collate: of training samples.
    """

    classes: tuple[str, ...]
    collate: Any = staticmethod(default_collate)

    @abstractmethod
    def split(self, network: Network, *, train: bool) -> Dataset:
        """The samples, as the network wants them."""

    @abstractmethod
    def scores(self) -> Scores:
        """To count on the split for evaluation."""


class Scores(ABC):
    """What counts in each process, and knows all in the first one."""

    @abstractmethod
    def add(self, outputs: Any, target: Any) -> None:
        """Count what a network says of one image."""

    @abstractmethod
    def finish(self) -> tuple[dict[str, Any], str]:
        """Metrics and their table, once; nothing but in the first process."""

    def write(self, work_dir: Path, name: str, metrics: Mapping[str, Any], table: str) -> None:
        """Metrics as JSON, and their table as text."""
        write_whole(work_dir / f"{name}.json", json.dumps(metrics, indent=2) + "\n")
        write_whole(work_dir / f"{name}.txt", table)


class InstanceData(Data):
    """COCO's, for a detector."""

    collate = staticmethod(collate)

    def __init__(self, settings: Settings, *, train: bool, check: bool) -> None:
        assert settings.coco_root is not None
        self.splits = {
            name: coco_split(settings.coco_root, name, limit=settings.limit_images, check=check)
            for name in ((TRAIN, VAL) if train else (VAL,))
        }
        found = categories(*self.splits.values())
        self.ids, self.classes = tuple(found), tuple(found.values())
        self.masks = settings.model == "mask_rcnn"

    def split(self, network: Network, *, train: bool) -> Dataset:  # noqa: ARG002
        """The detector normalises by itself."""
        return Instances(
            self.splits[TRAIN if train else VAL], self.ids, masks=self.masks, train=train
        )

    def scores(self) -> Scores:
        """COCO's."""
        return InstanceScores(self)


class InstanceScores(Scores):
    """COCO's average precision of boxes, and of masks where there are some."""

    def __init__(self, data: InstanceData) -> None:
        self.data = data
        self.kinds = ("bbox", "segm") if data.masks else ("bbox",)
        self.results: list[dict[str, Any]] = []

    def add(self, outputs: Any, target: Any) -> None:
        """Count the instances of one image."""
        self.results += as_results(target["image_id"], outputs[0], self.data.ids)

    def finish(self) -> tuple[dict[str, Any], str]:
        """Gather what all processes found."""
        rank, world = rank_and_world_size()
        if world > 1:
            shares: list[Any] = [None] * world
            distributed.gather_object(self.results, shares if rank == 0 else None)
            self.results = [result for share in shares for result in share or ()]
        if rank:
            return {}, ""
        split = self.data.splits[VAL]
        metrics = coco_scores(split.coco, self.results, split.ids, self.kinds)
        return metrics, coco_table(metrics)

    def write(self, work_dir: Path, name: str, metrics: Mapping[str, Any], table: str) -> None:
        """Besides, what was found, as COCO's server takes it."""
        super().write(work_dir, name, metrics, table)
        write_whole(work_dir / RESULTS, json.dumps(self.results) + "\n")


class PixelData(Data):
    """Images with a class for every pixel."""

    def __init__(self, settings: Settings, *, train: bool, check: bool) -> None:
        self.size = settings.sizes[-1]
        number = settings.num_classes
        self.classes = tuple(map(str, range(number))) if number else VOC_CLASSES
        self.samples = {
            name: _samples(settings, name, check) for name in ((TRAIN, VAL) if train else (VAL,))
        }

    def split(self, network: Network, *, train: bool) -> Dataset:
        """Normalised as the network wants it."""
        samples = self.samples[TRAIN if train else VAL]
        return Pixels(samples, network, size=self.size, train=train)

    def scores(self) -> Scores:
        """Of pixels."""
        return PixelScores(self.classes)


def _samples(settings: Settings, split: str, check: bool) -> list[Sample]:
    limit = settings.limit_images
    if settings.voc_root:
        return voc_samples(settings.voc_root, split, limit)
    assert settings.coco_root is not None
    if settings.mask_root and settings.num_classes:
        roots = settings.coco_root, settings.mask_root
        return folder_samples(*roots, split, settings.num_classes, limit)
    images = coco_split(settings.coco_root, split, limit=limit, check=check)
    return coco_samples(images, train=split == TRAIN)


class PixelScores(Scores):
    """Intersection over union, at the size of the masks."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.counts: Tensor | None = None

    def add(self, outputs: Any, target: Any) -> None:
        """Count the pixels of one image."""
        logits = outputs["out"].float()
        found = interpolate(logits, target.shape, mode="bilinear", align_corners=False)[0].argmax(0)
        counts = confusion(found, target.to(found.device), len(self.classes))
        self.counts = counts if self.counts is None else self.counts + counts

    def finish(self) -> tuple[dict[str, Any], str]:
        """Add up what all processes counted."""
        counts = self.counts
        if rank_and_world_size()[1] > 1:
            # A process without an image still takes part, on the device of its group.
            device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
            zeros = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
            counts = (zeros if counts is None else counts).to(device)
            distributed.all_reduce(counts)
        assert counts is not None
        metrics = pixel_scores(counts.cpu(), self.classes)
        return (metrics, pixel_table(metrics)) if is_main_process() else ({}, "")


def load_data(settings: Settings, *, train: bool) -> Data:
    """The data that the settings name.

    Args:
        train: whether the split for training is wanted as well.

    Raises:
        InputError: they are missing, empty or wrong.
    """
    kind = InstanceData if settings.recipe.detects else PixelData
    return kind(settings, train=train, check=is_main_process())
