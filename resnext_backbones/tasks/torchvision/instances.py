"""COCO's images come with their instances, as torchvision's detectors take them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from numpy.typing import NDArray
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import DATASETS, FUNCTIONS
from resnext_backbones.data.annotations import Annotations, find_annotations, read_annotations
from resnext_backbones.data.image_check import check_images
from resnext_backbones.data.pixels import read_image
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.fit import log_info, log_warning
from resnext_backbones.errors import InputError

LEAST_SIDE = 1
"""A box must be wider and higher than this, in pixels, to be trained with."""


def read_index(path: Path, use: Use) -> COCO:
    """Returns an annotation file as pycocotools has it, checked and completed for a use."""
    return _indexed(read_annotations(path, use, log_info))


def _indexed(found: Annotations) -> COCO:
    coco = COCO()
    coco.dataset = found.content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


class CocoImages(CocoDetection):
    """Reads images as all other tools do, as (3, H, W) of bytes."""

    def _load_image(self, id: int) -> tv_tensors.Image:
        image = self.coco.imgs[id]
        path, size = Path(self.root) / image["file_name"], (image["width"], image["height"])
        return to_tensor(read_image(path, size=size))


def to_tensor(pixels: NDArray[np.uint8]) -> tv_tensors.Image:
    """Returns pixels (H, W, 3) as torchvision's transforms take them: (3, H, W)."""
    return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))


def coco_split(
    data_root: str, ann_file: str, image_folder: str, indices: int | None, use: Use
) -> CocoDetection:
    """Returns the images of an annotation file, or the first `indices` of them; InputError: a file
    is missing or wrong for this use.
    """
    root = Path(data_root)
    path = find_annotations(root, ann_file)
    found = read_annotations(path, use, log_info)
    if is_main_process():
        check_images(path, found.images, root / image_folder)
        found.tell(log_info, log_warning)
    coco = _indexed(found)
    dataset = CocoImages(root / image_folder, None)
    dataset.coco, dataset.annotations = coco, found
    dataset.ids = sorted(coco.imgs)[:indices]
    return dataset


def is_usable(annotation: dict[str, Any]) -> bool:
    """Tells whether a detector learns from an annotation."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > LEAST_SIDE


@DATASETS.register_module()
class CocoInstances(Dataset):
    """Holds images and targets for a detector; InputError: they are missing, wrong or of no use.

    A sample has `inputs`, (3, H, W) of bytes, and `targets`: `image_id` and, in training, `boxes`
    (K, 4) as corners, `labels` (K,) from 1 on and, if asked for, `masks` (K, H, W).

    Args:
        ann_file, image_folder: in `data_root`; the annotations are in COCO's format.
        masks: whether they are asked for.
        train: leave out images without instances, and flip at random.
        indices: take the first so many images; None takes all.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        image_folder: str,
        *,
        masks: bool,
        train: bool,
        indices: int | None = None,
    ) -> None:
        use = Use(train=train, evaluate=not train, masks=masks)
        split = coco_split(data_root, ann_file, image_folder, indices, use)
        self.coco: COCO = split.coco
        self.annotations: Annotations = split.annotations
        self.root, self.train = Path(split.root), train
        if train:
            listed = len(split.ids)
            split.ids = [i for i in split.ids if any(map(is_usable, self.coco.imgToAnns[i]))]
            if not split.ids:
                raise InputError(f"images of {split.root}: none has an instance to train with")
            if (left := listed - len(split.ids)) and is_main_process():
                log_info(
                    f"annotation file {self.annotations.path}: {left} of {listed} images are left "
                    "out of training: they have no instance to train with"
                )
        self.image_ids: list[int] = split.ids
        keys = {"image_id", "boxes", "labels"} | ({"masks"} if masks else set())
        self.wrapped = wrap_dataset_for_transforms_v2(split, target_keys=keys if train else None)
        self.labels = {category: label for label, category in enumerate(sorted(self.coco.cats), 1)}
        steps: list[Any] = []
        if train:
            steps += [v2.RandomHorizontalFlip(), v2.ClampBoundingBoxes()]
            steps += [v2.SanitizeBoundingBoxes(min_size=LEAST_SIDE)]
        self.transform = v2.Compose([*steps, v2.ToPureTensor()])

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names the classes in the order of the labels, and says COCO's ids of them."""
        ids = tuple(self.labels)
        return {"classes": tuple(self.coco.cats[i]["name"] for i in ids), "category_ids": ids}

    @property
    def paths(self) -> list[Path]:
        """Returns the files of the images."""
        return [self.root / self.coco.imgs[image_id]["file_name"] for image_id in self.image_ids]

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image_id = self.image_ids[index]
        image, target = self.wrapped[index]
        if not self.train:
            return {"inputs": self.transform(image), "targets": {"image_id": image_id}}
        target["labels"] = torch.tensor([self.labels[int(kind)] for kind in target["labels"]])
        kept = torch.tensor([is_usable(each) for each in self.coco.imgToAnns[image_id]])
        target = {
            key: tv_tensors.wrap(value[kept], like=value) if isinstance(value, Tensor) else value
            for key, value in target.items()
        }
        image, target = self.transform(image, target)
        return {"inputs": image, "targets": target}


@FUNCTIONS.register_module()
def collate_lists(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Returns the samples of a batch as lists: images may differ in size, targets in number."""
    return {key: [sample[key] for sample in samples] for key in samples[0]}
