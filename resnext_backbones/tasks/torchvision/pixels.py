"""Images come with a class for every pixel: masks in files, or COCO's instances drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from numpy.typing import NDArray
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import VOCSegmentation
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.data.find_images import is_left_over
from resnext_backbones.data.mask_classes import check_mask_classes
from resnext_backbones.data.pixels import read_classes, read_image
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.fit import log_info, log_warning
from resnext_backbones.errors import InputError, some
from resnext_backbones.models.options import check_one_of
from resnext_backbones.tasks.torchvision.instances import coco_split, to_tensor

IGNORED = 255
"""Stands in a mask for pixels without a class."""

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
Samples = list[tuple[Path, Callable[[], Mask]]]
"""Images, each with a function that returns its classes: (H, W)."""


def read_mask(path: Path, num_classes: int) -> Mask:
    """Returns the classes in a PNG; InputError: it cannot be read, or has colours or others."""
    mask = read_classes(path)
    wrong = mask[((mask >= num_classes) & (mask != IGNORED)) | (mask < 0)]
    if wrong.size:
        raise InputError(
            f"mask {path}: has class {wrong.max()}, but there are {num_classes}, from 0 on, and "
            f"{IGNORED} for none"
        )
    return mask.astype(np.uint8)


def draw_mask(coco: COCO, image_id: int, classes: Mapping[int, int]) -> Mask:
    """Returns COCO's instances, drawn as their classes; pixels of two have none."""
    image = coco.imgs[image_id]
    mask = np.zeros((image["height"], image["width"]), np.uint8)
    count = np.zeros_like(mask, dtype=np.int32)
    for annotation in coco.imgToAnns[image_id]:
        if annotation["category_id"] in classes:
            drawn = coco.annToMask(annotation)
            count += drawn
            mask[drawn > 0] = classes[annotation["category_id"]]
    mask[count > 1] = IGNORED
    return mask


def coco_samples(
    *, train: bool, indices: int | None, data_root: str, ann_file: str, image_folder: str
) -> tuple[Sequence[str], Samples]:
    """Returns COCO's images with VOC's classes; for training those that show enough of one.

    Args:
        data_root, ann_file, image_folder: as of `CocoInstances`.
    """
    use = Use(train=train, evaluate=not train, masks=True)
    split = coco_split(data_root, ann_file, image_folder, indices, use)
    coco, root = split.coco, Path(split.root)
    ids = {category["name"]: key for key, category in coco.cats.items()}
    if absent := [name for name in VOC_OF_COCO.values() if name not in ids]:
        raise InputError(
            f"annotations of {root}: lack {len(absent)} of the {len(VOC_OF_COCO)} categories "
            f"that VOC has too: {some(absent)}; give masks, stored_as='folders'"
        )
    classes = {ids[name]: label for label, name in enumerate(VOC_OF_COCO.values(), 1)}

    def area(image_id: int) -> float:
        found = coco.imgToAnns[image_id]
        return sum(each["area"] for each in found if each["category_id"] in classes)

    found: Samples = [
        (root / coco.imgs[image_id]["file_name"], partial(draw_mask, coco, image_id, classes))
        for image_id in split.ids
        if not train or area(image_id) > LEAST_AREA
    ]
    if not found:
        raise InputError(f"images of {root}: none shows one of VOC's categories")
    if (left := len(split.ids) - len(found)) and is_main_process():
        log_info(
            f"images of {root}: {left} of {len(split.ids)} are left out of training: they show at "
            f"most {LEAST_AREA} pixels of VOC's categories"
        )
    return VOC_CLASSES, found


def voc_samples(
    *, train: bool, indices: int | None, data_root: str
) -> tuple[Sequence[str], Samples]:
    """Returns VOC's images and masks, in `data_root`/VOCdevkit/VOC2012/."""
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
) -> tuple[Sequence[str], Samples]:
    """Returns a folder of images, and the masks of the same names in another.

    Args:
        masks: PNGs of classes, from 0 to `num_classes` - 1, and `IGNORED` for none.
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
    paths = sorted(path for path in files if not is_left_over(path.name))[:indices]
    pairs = _pairs(paths, [Path(masks) / f"{path.stem}.png" for path in paths], num_classes)
    return tuple(map(str, range(num_classes))), pairs


def _pairs(images: Sequence[Path], masks: Sequence[Path], num_classes: int) -> Samples:
    missing = [str(path) for path in (*images, *masks) if not path.is_file()]
    if missing or not images:
        what = f"{len(missing)} files are missing: {some(missing)}" if missing else "are none"
        raise InputError(f"images and masks: {what}")
    readers = [partial(read_mask, mask, num_classes) for mask in masks]
    if is_main_process():
        what = f"masks of {masks[0].parent}"
        check_mask_classes(what, readers, num_classes, IGNORED, warn=log_warning)
    return list(zip(images, readers, strict=True))


STORED: dict[str, Callable[..., tuple[Sequence[str], Samples]]] = {
    "coco": coco_samples,
    "voc": voc_samples,
    "folders": folder_samples,
}
"""Each way of storing them has a function that reads the names of the classes and the samples."""


@DATASETS.register_module()
class ClassMasks(Dataset):
    """Holds images and a class for every pixel; InputError: something is missing or wrong.

    A sample has `inputs`, (3, h, w) of bytes, and `targets`: a `mask` (H, W), of one size for
    training, a random crop; for evaluation the image's shorter side is `size` and the mask as it
    was.

    Args:
        stored_as: of `STORED`: `coco` draws its instances as VOC's classes.
        size: of the shorter side of an image, in pixels.
        train: resize by 0.5 to 2, flip and crop at random.
        indices: take the first so many images; None takes all.
        where: arguments of what reads them.
    """

    def __init__(
        self, stored_as: str, *, size: int, train: bool, indices: int | None = None, **where: Any
    ) -> None:
        check_one_of("stored_as", stored_as, STORED)
        self.classes, self.samples = STORED[stored_as](train=train, indices=indices, **where)
        self.train = train
        fill: dict[Any, int] = {tv_tensors.Mask: IGNORED, "others": 0}
        steps: list[Any] = [v2.Resize(size)]
        if train:
            steps = [v2.RandomResize(size // 2, size * 2), v2.RandomHorizontalFlip()]
            steps += [v2.RandomCrop(round(size * CROP), pad_if_needed=True, fill=fill)]
        self.transform = v2.Compose([*steps, v2.ToPureTensor()])

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names the classes."""
        return {"classes": tuple(self.classes)}

    @property
    def paths(self) -> list[Path]:
        """Returns the files of the images."""
        return [path for path, _ in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, classes = self.samples[index]
        mask = tv_tensors.Mask(classes())
        height, width = mask.shape
        image = to_tensor(read_image(path, size=(width, height)))
        shown = self.transform(image, mask) if self.train else (self.transform(image), mask)
        return {"inputs": shown[0], "targets": {"mask": shown[1].as_subclass(Tensor).long()}}
