"""Images with a class for every pixel: masks in files, or COCO's instances drawn as classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.torchvision.instances import coco_split

IGNORED = 255
"""Of a mask: pixels without a class."""

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
    """Reads a mask from a PNG."""

    path: Path
    num_classes: int

    def __call__(self) -> Mask:
        """Returns its pixels.

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
    """Draws COCO's instances as VOC's classes; pixels of two instances have none."""

    split: CocoDetection
    image_id: int
    classes: dict[int, int]

    def __call__(self) -> Mask:
        """Returns the mask."""
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
        """Returns the pixels of the instances of these classes."""
        found = self.split.coco.imgToAnns[self.image_id]
        return sum(a["area"] for a in found if a["category_id"] in self.classes)


def coco_samples(
    *, train: bool, indices: int | None, data_root: str, ann_file: str, image_folder: str
) -> tuple[Sequence[str], list[Sample]]:
    """Returns COCO's images with VOC's classes; for training those that show one.

    Args:
        data_root, ann_file, image_folder: as of `CocoInstances`.

    Raises:
        InputError: its categories lack some of VOC's, or no image shows one; or as
            `coco_split`.
    """
    split = coco_split(data_root, ann_file, image_folder, indices)
    ids = {category["name"]: key for key, category in split.coco.cats.items()}
    if absent := [name for name in VOC_OF_COCO.values() if name not in ids]:
        raise InputError(
            f"annotations of {split.root}: lack {len(absent)} of the {len(VOC_OF_COCO)} categories "
            f"that VOC has too: {some(absent)}; give masks, stored_as='folders'"
        )
    classes = {ids[name]: label for label, name in enumerate(VOC_OF_COCO.values(), 1)}
    found: list[Sample] = []
    for image_id in split.ids:
        draw = Draw(split, image_id, classes)
        if not train or draw.area() > LEAST_AREA:
            found.append((Path(split.root) / split.coco.imgs[image_id]["file_name"], draw))
    if not found:
        raise InputError(f"images of {split.root}: none shows one of VOC's categories")
    return VOC_CLASSES, found


def voc_samples(
    *, train: bool, indices: int | None, data_root: str
) -> tuple[Sequence[str], list[Sample]]:
    """Returns VOC's images and masks.

    Args:
        data_root: the folder with VOCdevkit/VOC2012/.

    Raises:
        InputError: they are not there.
    """
    name = "train" if train else "val"
    try:
        found = VOCSegmentation(data_root, image_set=name)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"data root {data_root}: has no VOCdevkit/VOC2012 with JPEGImages, SegmentationClass "
            f"and ImageSets/Segmentation/{name}.txt ({error}); VOC_ROOT names it, or data_root of "
            "the data sets"
        ) from error
    images, masks = (list(map(Path, paths))[:indices] for paths in (found.images, found.masks))
    return VOC_CLASSES, _pairs(images, masks, len(VOC_CLASSES))


def folder_samples(
    *, train: bool, indices: int | None, images: str, masks: str, num_classes: int
) -> tuple[Sequence[str], list[Sample]]:
    """Returns a folder of images, and the masks of the same names in another.

    Args:
        masks: PNGs of classes, `IGNORED` for none.
        num_classes: that they tell apart, from 0 on.

    Raises:
        InputError: a folder or a mask is not there, or there are too many classes.
    """
    del train  # the folders say it
    if not 2 <= num_classes <= IGNORED:
        raise InputError(
            f"num_classes {num_classes}: must be from 2 to {IGNORED}, which stands for none"
        )
    for what, folder in (("images", images), ("masks", masks)):
        if not Path(folder).is_dir():
            raise InputError(f"{what} of the data set: there is no folder {folder}")
    files = (path for path in Path(images).iterdir() if path.suffix.lower() in IMG_EXTENSIONS)
    paths = sorted(files)[:indices]
    pairs = _pairs(paths, [Path(masks) / f"{path.stem}.png" for path in paths], num_classes)
    return tuple(map(str, range(num_classes))), pairs


def _pairs(images: Iterable[Path], masks: Iterable[Path], num_classes: int) -> list[Sample]:
    pairs = list(zip(images, masks, strict=True))
    missing = [str(path) for pair in pairs for path in pair if not path.is_file()]
    if missing or not pairs:
        what = f"{len(missing)} files are missing: {some(missing)}" if missing else "are none"
        raise InputError(f"images and masks: {what}")
    return [(image, Read(mask, num_classes)) for image, mask in pairs]


STORED: dict[str, Callable[..., tuple[Sequence[str], list[Sample]]]] = {
    "coco": coco_samples,
    "voc": voc_samples,
    "folders": folder_samples,
}
"""What reads the names of the classes and the samples, by how they are stored."""


@DATASETS.register_module()
class ClassMasks(Dataset):
    """Holds images and a class for every pixel.

    A sample has `inputs`, (3, h, w) of bytes, and `targets`: a `mask` (H, W), of one size for
    training, a random crop; for evaluation the image's shorter side is `size` and the mask as it
    was.

    Args:
        stored_as: of `STORED`: `coco` draws its instances as VOC's classes.
        size: of the shorter side of an image, in pixels.
        train: resize by 0.5 to 2, flip and crop at random.
        indices: take the first so many images; None takes all.
        where: arguments of what reads them.

    Raises:
        InputError: images or masks are missing or wrong.
        ValueError: `stored_as` is unknown.
    """

    def __init__(
        self, stored_as: str, *, size: int, train: bool, indices: int | None = None, **where: Any
    ) -> None:
        if stored_as not in STORED:
            raise ValueError(f"stored_as {stored_as!r}: use {', '.join(STORED)}")
        self.classes, self.samples = STORED[stored_as](train=train, indices=indices, **where)
        self.train = train
        fill: dict[Any, int] = {tv_tensors.Mask: IGNORED, "others": 0}
        varied = [
            v2.RandomResize(size // 2, size * 2),
            v2.RandomHorizontalFlip(),
            v2.RandomCrop(round(size * CROP), pad_if_needed=True, fill=fill),
        ]
        self.transform = v2.Compose(
            [
                *(varied if train else [v2.Resize(size)]),
                v2.ToDtype({tv_tensors.Mask: torch.int64, "others": None}),
                v2.ToPureTensor(),
            ]
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names the classes."""
        return {"classes": tuple(self.classes)}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
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
            image, mask = self.transform(image, mask)
        else:
            image, mask = self.transform(image), mask.as_subclass(Tensor).long()
        return {"inputs": image, "targets": {"mask": mask}}
