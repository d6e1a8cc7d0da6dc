"""MMDetection's pipelines read images as all other tools do, or end in an error that names one."""

from __future__ import annotations

from typing import Any

import mmengine.fileio
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile

from resnext_backbones.adapters.registry import TRANSFORMS
from resnext_backbones.data.image_files import Source, reading
from resnext_backbones.data.pixels import read_image

ORDERS = {
    "color": ("BGR", True),
    "grayscale": ("L", True),
    "color_ignore_orientation": ("BGR", False),
    "grayscale_ignore_orientation": ("L", False),
}
"""MMCV's words: the order of the channels, and whether EXIF turns the image."""

RAW = "tifffile"
"""A backend of MMCV that gives values as they are stored, as its colour type `unchanged` does."""


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """Reads images for MMCV's transforms; InputError: one is missing, broken, or of another size
    than its annotations. What is asked for as it is stored, `unchanged`, MMCV reads.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds `img` (H, W, 3), `img_shape` and `ori_shape` to the sample."""
        path = results["img_path"]
        if self.color_type not in ORDERS or self.imdecode_backend == RAW:
            with reading(path):
                return super().transform(results)
        order, turn = ORDERS[self.color_type]
        size = results.get("width"), results.get("height")
        image = read_image(
            fetched(path, self.backend_args),
            path,
            order=order,
            size=None if None in size else size,  # type: ignore[arg-type]
            turn=turn,
        )
        results["img"] = image.astype("float32") if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


def fetched(path: str, backend_args: dict[str, Any] | None = None) -> Source:
    """Returns the path of a file on this machine, and what one elsewhere holds."""
    if backend_args is None and "://" not in path:
        return path
    with reading(path):
        return bytes(mmengine.fileio.get(path, backend_args))
