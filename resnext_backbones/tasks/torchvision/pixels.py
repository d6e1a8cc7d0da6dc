"""Images with a class for every pixel: masks in files, or COCO's instances drawn as classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, VOCSegmentation
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.torchvision.instances import TRAIN, VAL
from resnext_backbones.tasks.torchvision.network import Network
from resnext_backbones.tasks.torchvision.settings import IGNORED

VOC_OF_COCO = {
    "aeroplane": "airplane", "bicycle": "bicycle", "bird": "bird", "boat": "boat",
    "bottle": "bottle", "bus": "bus", "car": "car", "cat": "cat", "chair": "chair", "cow": "cow",
    "diningtable": "dining table", "dog": "dog", "horse": "horse", "motorbike": "motorcycle",
    "person": "person", "pottedplant": "potted plant", "sheep": "sheep", "sofa": "couch",
    "train": "train", "tvmonitor": "tv",
}  # fmt: skip
"""VOC's classes in their order, behind the background, and COCO's names of them."""

VOC_CLASSES = ("background", *VOC_OF_COCO)

LEAST_AREA = 1000
"""Pixels that COCO's instances of these classes must have in an image to be trained with, as in
torchvision's reference."""

CROP = 480 / 520
"""Side of the crops that are trained with, over the size that they are cut from."""

Mask = NDArray[np.uint8]
Sample = tuple[Path, Callable[[], Mask]]
"""An image, and how to come by its classes: (H, W)."""


@dataclass(frozen=True)
class Read:
    """A mask in a PNG."""

    path: Path
    num_classes: int

    def __call__(self) -> Mask:
        """Its pixels.

        Raises:
            InputError: it cannot be read, has colours in place of classes, or too high ones.
        """
        try:
            mask = np.asarray(Image.open(self.path))
        except (OSError, SyntaxError) as error:
            raise InputError(f"mask {self.path}: cannot be read: {error}") from error
        if mask.ndim != 2:
            raise InputError(f"mask {self.path}: has colours; one channel with classes is wanted")
        wrong = mask[(mask >= self.num_classes) & (mask != IGNORED)]
        if wrong.size:
            raise InputError(
                f"mask {self.path}: has class {wrong.max()}, but there are {self.num_classes}, "
                f"from 0 on, and {IGNORED} for none"
            )
        return mask.astype(np.uint8)


@dataclass(frozen=True)
class Draw:
    """COCO's instances as VOC's classes; pixels of two instances have none."""

    split: CocoDetection
    image_id: int
    classes: dict[int, int]

    def __call__(self) -> Mask:
        """Draw them."""
        coco = self.split.coco
        image = coco.imgs[self.image_id]
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        count = np.zeros_like(mask, dtype=np.int32)
        for annotation in coco.imgToAnns[self.image_id]:
            if annotation["category_id"] in self.classes:
                drawn = coco.annToMask(annotation)
                count += drawn
                mask[drawn > 0] = self.classes[annotation["category_id"]]
        mask[count > 1] = IGNORED
        return mask

    def area(self) -> float:
        """Of the instances of these classes."""
        found = self.split.coco.imgToAnns[self.image_id]
        return sum(a["area"] for a in found if a["category_id"] in self.classes)


def coco_samples(split: CocoDetection, *, train: bool) -> list[Sample]:
    """COCO's images with VOC's classes; for training those that show one.

    Raises:
        InputError: its categories lack some of VOC's, or no image shows one.
    """
    ids = {category["name"]: key for key, category in split.coco.cats.items()}
    if absent := [name for name in VOC_OF_COCO.values() if name not in ids]:
        raise InputError(
            f"annotations of {split.root}: lack {len(absent)} of the {len(VOC_OF_COCO)} categories "
            f"that VOC has too: {some(absent)}; give masks with --mask-root"
        )
    classes = {ids[name]: label for label, name in enumerate(VOC_OF_COCO.values(), 1)}
    found: list[Sample] = []
    for image_id in split.ids:
        draw = Draw(split, image_id, classes)
        if not train or draw.area() > LEAST_AREA:
            found.append((Path(split.root) / split.coco.imgs[image_id]["file_name"], draw))
    if not found:
        raise InputError(f"images of {split.root}: none shows one of VOC's categories")
    return found


def voc_samples(root: Path, split: str, limit: int | None) -> list[Sample]:
    """VOC's images and masks.

    Raises:
        InputError: they are not there.
    """
    name = {TRAIN: "train", VAL: "val"}[split]
    try:
        found = VOCSegmentation(str(root), image_set=name)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"--voc-root {root}: has no VOCdevkit/VOC2012 with JPEGImages, SegmentationClass and "
            f"ImageSets/Segmentation/{name}.txt ({error})"
        ) from error
    return _pairs(map(Path, found.images), map(Path, found.masks), len(VOC_CLASSES), limit)


def folder_samples(
    images: Path, masks: Path, split: str, num_classes: int, limit: int | None
) -> list[Sample]:
    """A folder of images, and the masks of the same names in another.

    Raises:
        InputError: a folder or a mask is not there.
    """
    for option, folder in (("--coco-root", images / split), ("--mask-root", masks / split)):
        if not folder.is_dir():
            raise InputError(f"{option}: there is no folder {folder}")
    paths = sorted(
        path for path in (images / split).iterdir() if path.suffix.lower() in IMG_EXTENSIONS
    )[:limit]
    return _pairs(paths, [masks / split / f"{path.stem}.png" for path in paths], num_classes, limit)


def _pairs(
    images: Iterable[Path], masks: Iterable[Path], num_classes: int, limit: int | None
) -> list[Sample]:
    pairs = list(zip(images, masks, strict=True))[:limit]
    missing = [str(path) for pair in pairs for path in pair if not path.is_file()]
    if missing or not pairs:
        what = f"{len(missing)} files are missing: {some(missing)}" if missing else "are none"
        raise InputError(f"images and masks: {what}")
    return [(image, Read(mask, num_classes)) for image, mask in pairs]


class Pixels(Dataset):
    """Images and a class for every pixel.

    A sample is a normalised image (3, h, w) and a mask (H, W): of one size for training, a random
    crop; for evaluation the image's shorter side is `size` and the mask as it was.

    Args:
        samples: what to read.
        network: whose pixels' mean and std count.
        size: of the shorter side of an image.
        train: resize by 0.5 to 2, flip and crop at random.
    """

    def __init__(self, samples: list[Sample], network: Network, *, size: int, train: bool) -> None:
        self.samples, self.train = samples, train
        fill: dict[Any, int] = {tv_tensors.Mask: IGNORED, "others": 0}
        varied = [
            v2.RandomResize(size // 2, size * 2),
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(round(size * CROP), pad_if_needed=True, fill=fill),
        ]
        types = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
        self.transform = v2.Compose(
            [
                *(varied if train else [v2.Resize(size)]),
                v2.ToDtype(types, scale=True),
                v2.Normalize(list(network.image_mean), list(network.image_std)),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path, classes = self.samples[index]
        try:
            image = tv_tensors.Image(Image.open(path).convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise InputError(f"image {path}: cannot be read: {error}") from error
        mask = tv_tensors.Mask(classes())
        if mask.shape != image.shape[1:]:
            raise InputError(
                f"image {path}: is {tuple(image.shape[1:])}, and its mask {tuple(mask.shape)}"
            )
        if self.train:
            return self.transform(image, mask)
        return self.transform(image), mask.as_subclass(Tensor).long()
