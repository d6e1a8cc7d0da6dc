"""What an image's values are decides what its 8-bit colours are: one table for every tool."""

from __future__ import annotations

import logging
import sys
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""Tags of TIFF."""

WHITE_IS_ZERO = 0

CONVERTED: dict[str, tuple[str, ...]] = {
    # Colours are taken as they are stored, whatever the alpha; those that alpha was multiplied
    # into are divided by it.
    **dict.fromkeys(("1", "L", "P", "CMYK", "YCbCr", "LA", "PA", "RGBA", "RGBX"), ("RGB",)),
    "La": ("LA", "RGB"),
    "RGBa": ("RGBA", "RGB"),
}
"""Pillow's modes of 8 bits, and the modes that they become in turn."""

DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of 9 to 16 bits of grey."""

DEEP_IN_32 = ("PNG", "PPM")
"""Formats whose 16 bits Pillow may hold in 32."""

REFUSED = {
    "I": "whole numbers of 32 bits, or with a sign",
    "F": "fractions",
    "LAB": "colours of CIELAB",
    "HSV": "colours of HSV",
}
"""Modes whose values have no one meaning as 8-bit colours."""

CLASSES = ("1", "L", "P", "I", *DEEP)
"""Modes that can hold a class for every pixel; of a palette it is the index."""

STRIP = 1 << 22
"""So many pixels are converted at once, which takes their memory more than once."""

LOSSY = ("JPEG", "MPO")


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns an image in 8-bit RGB; ValueError says why what it holds has no such meaning."""
    if image.mode == "RGB":
        return image
    if is_deep(image):
        return Image.fromarray(_high_bits(image)).convert("RGB")
    if image.mode not in CONVERTED:
        held = REFUSED.get(image.mode, f"values of Pillow's mode {image.mode}")
        raise ValueError(
            f"it holds {held}, which have no one meaning as colours; convert it to "
            "RGB or grey of 8 or 16 bits"
        )
    image.load()
    # Pillow would warn that it is left out.
    image.info.pop("transparency", None)
    for mode in CONVERTED[image.mode]:
        image = image.convert(mode)
    return image


def to_classes(image: Image.Image) -> NDArray[np.integer]:
    """Returns the class of every pixel, (H, W); ValueError: it holds colours."""
    if image.format in LOSSY:
        raise ValueError("it is a JPEG, which does not keep classes as they were")
    if image.mode not in CLASSES:
        raise ValueError("it has colours; one channel with classes is wanted")
    values = np.asarray(image)
    return values.astype(np.uint8) if image.mode == "1" else values


def is_deep(image: Image.Image) -> bool:
    """Tells whether an image holds 9 to 16 bits of grey."""
    return image.mode in DEEP or (image.mode == "I" and image.format in DEEP_IN_32)


def _high_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Returns the upper 8 bits of each value, as libpng, OpenCV and, for RGB, Pillow do."""
    tags = getattr(image, "tag_v2", {})
    bits, photometric = tags.get(BITS_PER_SAMPLE, (16,))[0], tags.get(PHOTOMETRIC)
    width, height = image.size
    high, most = np.empty((height, width), np.uint8), 0
    rows = max(1, STRIP // width)  # values leave Pillow in copies
    for top in range(0, height, rows):
        values = np.asarray(image.crop((0, top, width, min(height, top + rows))))
        if photometric == WHITE_IS_ZERO:
            values = (1 << bits) - 1 - values
        high[top : top + rows] = values >> (bits - 8)
        most = max(most, int(values.max()))
    if 0 < most < 1 << (bits - 8):
        raise ValueError(
            f"it has {bits} bits, but no value above {most}, so nothing would be seen; scale its "
            f"values to 0 to {(1 << bits) - 1}"
        )
    _say_once(bits)
    return high


@cache
def _say_once(bits: int) -> None:
    """Says what a process does with such images, in the first of a loader's workers."""
    loading = sys.modules.get("torch.utils.data")  # images are read without PyTorch, too
    worker = loading.get_worker_info() if loading else None
    if worker is None or worker.id == 0:
        logging.getLogger(__name__).warning(
            f"images of {bits} bits: their upper 8 are taken, since 0 to {(1 << bits) - 1} is the "
            "range of their type"
        )
