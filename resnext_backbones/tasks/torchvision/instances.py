"""Images of COCO with their instances, as torchvision's detectors take them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from resnext_backbones.data.annotations import (
    check_images,
    complete_annotations,
    read_coco,
    some,
)
from resnext_backbones.errors import InputError

TRAIN, VAL = "train2017", "val2017"
"""The folders of COCO's images, and the names of its splits."""

LEAST_SIDE = 1
"""A box must be wider and higher than this, in pixels, to be trained with."""


def coco_split(root: Path, split: str, *, limit: int | None, check: bool) -> CocoDetection:
    """The images of a split, or the first so many.

    Args:
        check: whether all of them are there.

    Raises:
        InputError: the folder or its annotations are missing or wrong, or there is no image.
    """
    if not root.is_dir():
        raise InputError(
            f"--coco-root {root}: there is no such folder; it holds annotations/, {TRAIN}/ and "
            f"{VAL}/"
        )
    path = root / "annotations" / f"instances_{split}.json"
    if not path.is_file():
        raise InputError(f"annotation file {path}: there is no such file")
    content = read_coco(path)
    complete_annotations(path, content)
    if check:
        check_images(path, content["images"], root / split)
    dataset = CocoDetection(root / split, None)
    dataset.coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.coco.createIndex()
    dataset.ids = sorted(dataset.coco.imgs)[:limit]
    if not dataset.ids:
        raise InputError(f"annotation file {path}: lists no images")
    return dataset


def categories(*splits: CocoDetection) -> dict[int, str]:
    """COCO's ids and names, in the order of the labels.

    Raises:
        InputError: there are none, or the splits disagree.
    """
    found = [{k: v["name"] for k, v in sorted(split.coco.cats.items())} for split in splits]
    if not found[0] or any(other != found[0] for other in found):
        listed = "; ".join(some(names.values()) or "none" for names in found)
        raise InputError(
            f"annotation files of --coco-root: must have the same categories: {listed}"
        )
    return found[0]


def is_usable(annotation: dict[str, Any]) -> bool:
    """Whether a detector learns from it."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > LEAST_SIDE


class Instances(Dataset):
    """Images and targets for a detector.

    A sample is (3, H, W) from 0 to 1, and a dict of `image_id`, `boxes` (K, 4) as corners, `labels`
    (K,) from 1 on, and, if asked for, `masks` (K, H, W).

    Args:
        split: of `coco_split`.
        ids: COCO's category ids in the order of the labels.
        masks: whether they are asked for.
        train: leave out images without instances, and flip at random.
    """

    def __init__(
        self, split: CocoDetection, ids: Sequence[int], *, masks: bool, train: bool
    ) -> None:
        index, self.train = split.coco.imgToAnns, train
        if train:
            split.ids = [i for i in split.ids if any(map(is_usable, index[i]))]
            if not split.ids:
                raise InputError(f"images of {split.root}: none has an instance to train with")
        self.image_ids = split.ids
        self.coco: COCO = split.coco
        self.root = Path(split.root)
        keys = {"image_id", "boxes", "labels"} | ({"masks"} if masks else set())
        self.wrapped = wrap_dataset_for_transforms_v2(split, target_keys=keys if train else None)
        self.labels = {category: label for label, category in enumerate(ids, 1)}
        steps: list[Any] = [v2.ToImage()]
        if train:
            steps += [v2.RandomHorizontalFlip(), v2.ClampBoundingBoxes()]
            steps += [v2.SanitizeBoundingBoxes(min_size=LEAST_SIDE)]
        self.transform = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        try:
            image, target = self.wrapped[index]
        except (OSError, SyntaxError) as error:  # a PNG that is broken is a SyntaxError
            name = self.coco.imgs[self.image_ids[index]]["file_name"]
            raise InputError(f"image {self.root / name}: cannot be read: {error}") from error
        if not self.train:
            return self._plain(self.transform(image)), {"image_id": self.image_ids[index]}
        labels = [self.labels[int(category)] for category in target["labels"]]
        target["labels"] = torch.tensor(labels)
        annotations = self.coco.imgToAnns[self.image_ids[index]]
        kept = torch.tensor([is_usable(annotation) for annotation in annotations])
        target = {
            key: tv_tensors.wrap(value[kept], like=value) if isinstance(value, Tensor) else value
            for key, value in target.items()
        }
        image, target = self.transform(image, target)
        return self._plain(image), {key: self._plain(value) for key, value in target.items()}

    @staticmethod
    def _plain(value: Any) -> Any:
        return value.as_subclass(Tensor) if isinstance(value, Tensor) else value


def collate(samples: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    """Images and targets as two lists."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
