"""An image that cannot be read ends in an error that names the file."""

from __future__ import annotations

import io
from typing import Any

import mmcv
import mmengine.fileio
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from PIL import Image

from resnext_backbones.adapters.registry import TRANSFORMS
from resnext_backbones.errors import InputError

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """Reads images as MMCV's transform; one that is missing or truncated is an `InputError`."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Adds `img` (H, W, 3), `img_shape` and `ori_shape` to the sample."""
        path = results["img_path"]
        try:
            content = mmengine.fileio.get(path, self.backend_args)
        except OSError as error:
            raise InputError(f"image {path}: {error.strerror or error}") from error
        # OpenCV fills the rest of a truncated JPEG with grey and says nothing. One that ends as it
        # must is whole; few do not, and Pillow decides on those.
        if content.startswith(JPEG_START) and not content.rstrip(b"\0").endswith(JPEG_END):
            try:
                Image.open(io.BytesIO(content)).load()
            except (OSError, SyntaxError) as error:
                raise InputError(f"image {path}: corrupt or truncated: {error}") from error
        # OpenCV raises on an empty file, and returns None for all else that is no image.
        image = None
        if content:
            image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise InputError(f"image {path}: cannot be decoded ({len(content)} bytes)")
        results["img"] = image.astype("float32") if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results
