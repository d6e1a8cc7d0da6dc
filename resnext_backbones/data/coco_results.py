"""Detections are written in COCO's results format here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as rle
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.ops import box_convert

from resnext_backbones.data.coco_file import read_content
from resnext_backbones.errors import InputError, some

COCO_NAMES: list[str] = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
"""COCO's categories at the places of their ids, which are 1 to 90 with gaps."""


def to_results(
    found: Mapping[str, Tensor], image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns the detections of one image as COCO's results, in its order.

    Args:
        found: in the pixels of the image's file: `boxes` (K, 4) as corners, `labels` (K,),
            `scores` (K,) and, where there are some, `masks` (K, H, W) of True and False.
        image_id: of the image.
        category_ids: by label, from 0 on.

    Returns:
        For each its `image_id`, `category_id`, `score`, `bbox` (x, y, width and height in pixels)
        and, where there are masks, `segmentation` as compressed RLE.
    """
    boxes = box_convert(found["boxes"].double(), "xyxy", "xywh").tolist()
    each = zip(found["labels"].tolist(), boxes, found["scores"].tolist(), strict=True)
    results: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for label, box, score in each
    ]
    if "masks" in found:
        for result, mask in zip(results, found["masks"].cpu().numpy(), strict=True):
            code = rle.encode(np.asfortranarray(mask, np.uint8))
            result["segmentation"] = {**code, "counts": code["counts"].decode()}
    return results


def own_categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Returns COCO's list of categories for classes: COCO's ids if all are COCO's, else from 1."""
    if set(classes) <= set(COCO_NAMES):
        return [{"id": COCO_NAMES.index(name), "name": name} for name in classes]
    return [{"id": number, "name": name} for number, name in enumerate(classes, 1)]


class ImageList:
    """A file in COCO's format says ids of images and of categories; a lack is an InputError."""

    def __init__(self, path: Path) -> None:
        self.what = f"--image-list {path}"
        if not path.is_file():
            raise InputError(f"{self.what}: there is no such file")
        # Files for images without annotations, as COCO's test-dev2017, have none.
        content = read_content(path, ("images", "categories"))
        self.ids = {image["file_name"]: image["id"] for image in content["images"]}
        self.categories = content["categories"]

    def category_list(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the categories of classes, in the order of these."""
        by_name: Mapping[str, Any] = {kind["name"]: kind for kind in self.categories}
        if absent := [name for name in classes if name not in by_name]:
            raise InputError(
                f"{self.what}: has no category for {some(absent)}, which the checkpoint's classes "
                "are"
            )
        return [{"id": by_name[name]["id"], "name": name} for name in classes]

    def image_ids(self, root: Path, names: Sequence[str]) -> list[int]:
        """Returns the ids of images, each by the longest end of its path that the file has."""
        found = {name: self._image_id(root / name) for name in names}
        if absent := [name for name, number in found.items() if number is None]:
            raise InputError(f"{self.what}: does not list {some(absent)}")
        return [number for number in found.values() if number is not None]

    def _image_id(self, path: Path) -> int | None:
        parts = PurePosixPath(path.as_posix()).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self.ids[end] for end in ends if end in self.ids), None)
