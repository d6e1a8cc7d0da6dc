"""Measures a file's top-1 accuracy beside PyTorch's, on images in a folder for each class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnext_backbones.errors import InputError, some
from resnext_backbones.export.formats import Run
from resnext_backbones.export.images import array_of, preprocessing_of
from resnext_backbones.export.subject import Subject
from resnext_backbones.tasks.classification.sources import Images, folder_a_class

BATCH = 32
"""So many images of one size are run at once."""


@dataclass(frozen=True)
class Validation:
    """Holds images with labels, and what becomes of each."""

    images: Images
    said: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, subject: Subject) -> Validation:
        """Returns the images of a folder; InputError: the network has no logits, or other classes,
        or it is not known which pixels it expects, or which crop.
        """
        (output, *_) = subject.outputs
        if output.stride is not None:
            raise InputError(f"--val {folder}: accuracy is a classifier's; leave out --val")
        said = preprocessing_of(subject, "--val")
        images = folder_a_class(folder)
        if len(images.classes) != output.channels:
            raise InputError(
                f"--val {folder}: has {len(images.classes)} classes, and the network tells "
                f"{output.channels} apart; it takes a folder for each"
            )
        names = json.loads(subject.metadata["classes"]) or images.classes
        if others := sorted(set(images.classes) - set(names)):
            raise InputError(
                f"--val {folder}: has folders that are none of the network's classes: "
                f"{some(others)}; its classes: {some(names)}"
            )
        # By number a folder, sorted, may be another class than in training.
        labels = [names.index(images.classes[label]) for label in images.labels]
        return cls(replace(images, classes=names, labels=labels), said)

    def batches(self) -> Iterator[tuple[NDArray[np.float32], list[int]]]:
        """Yields images of one size, at most `BATCH`, with their labels."""
        arrays: list[NDArray[np.float32]] = []
        labels: list[int] = []
        for i, label in enumerate(self.images.labels):
            array = array_of(self.images.open(i), self.said)
            if arrays and (len(arrays) == BATCH or array.shape != arrays[0].shape):
                yield np.concatenate(arrays), labels
                arrays, labels = [], []
            arrays.append(array)
            labels.append(label)
        yield np.concatenate(arrays), labels

    def top1(self, run: Run) -> float:
        """Returns the share of images whose largest logit is of their class."""
        right = 0
        for arrays, labels in self.batches():
            right += int((run(arrays)[0].argmax(1) == np.array(labels)).sum())
        return right / len(self.images)


def by_torch(subject: Subject) -> Run:
    """Returns what runs the network in PyTorch."""

    def run(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            values = subject.values(subject.network(torch.from_numpy(images)))
        return [value.numpy() for value in values]

    return run
