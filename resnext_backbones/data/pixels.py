"""The pixels of an image file are read here, for every tool: the same ones, or the same error.

What becomes of depth, palettes, alpha and so on stands in `modes`, and in docs/images.md.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from resnext_backbones.data import jpeg
from resnext_backbones.data.image_files import (
    Source,
    Stored,
    open_by_pillow,
    opened,
    read_stored,
    read_whole,
    reading,
)
from resnext_backbones.data.modes import STRIP, to_classes, to_rgb

try:
    import cv2
except ImportError:  # Detectron2 does without; Pillow decodes to the same values, more slowly
    cv2 = None  # type: ignore[assignment]

TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}
"""EXIF's orientations: whether rows become columns, and which axes are turned round then."""

BACK = {6: 8, 8: 6}
"""All others are undone by themselves."""


def read_image(
    source: Source,
    name: object = None,
    *,
    order: str = "RGB",
    size: tuple[int, int] | None = None,
    turn: bool = True,
) -> NDArray[np.uint8]:
    """Returns the pixels of an image, (H, W, 3) in RGB or BGR, or (H, W) of grey values; of
    several frames the first.

    Args:
        name: of the image in messages; None is its path.
        order: `RGB`, `BGR`, or `L` for grey values.
        size: width and height that its annotations are for. They say whether these were made on
            the pixels as they lie in the file, or as EXIF turns them.
        turn: as EXIF says, where `size` does not say otherwise.

    Raises:
        InputError: it cannot be read, has another size, or no one meaning as 8-bit colours.
    """
    name = source if name is None else name
    with reading(name), opened(source) as file:
        stored = read_stored(file)
        orientation = stored.chosen(size, name) if turn else 1
        pixels = None
        if stored.jpeg:
            content = _whole_jpeg(file, stored.jpeg)
            file = BytesIO(content)
            pixels = _by_opencv(content, order) if stored.jpeg.is_plain else None
        if pixels is None:
            pixels = _to_array(_decoded(file), order)
            if stored.turns_itself:
                turned, back = stored.orientation, BACK.get(stored.orientation, stored.orientation)
                orientation = 1 if orientation == turned else back
        return _turned(pixels, orientation)


def open_image(source: Source, name: object = None) -> Image.Image:
    """Returns an image in RGB, turned as EXIF says, with the pixels of `read_image`. A plain JPEG
    is not decoded yet, so that transforms can ask for less of it.

    Raises InputError as `read_image`, and so does `load` of what was not decoded yet.
    """
    name = source if name is None else name
    with reading(name), opened(source) as file:
        stored = read_stored(file)
        if stored.orientation != 1:
            return Image.fromarray(read_image(source, name))
        if stored.jpeg is None:
            return _decoded(file)
        content = _whole_jpeg(file, stored.jpeg)
        return to_rgb(_Undecoded(BytesIO(content), str(name)))


def read_classes(source: Source, name: object = None) -> NDArray[np.integer]:
    """Returns the class of every pixel of a mask, (H, W); of a palette the index. InputError: it
    cannot be read, or holds colours.
    """
    with reading(source if name is None else name, "mask"), opened(source) as file:
        stored = read_stored(file)
        image = open_by_pillow(file)
        image.load()
        return _turned(to_classes(image), 1 if stored.turns_itself else stored.orientation)


def image_header(source: Source) -> Stored:
    """Returns what an image says before its pixels; InputError: nothing, or it is too large."""
    with reading(source), opened(source) as file:
        return read_stored(file)


def _whole_jpeg(file: BinaryIO, header: jpeg.Header) -> bytes:
    content = read_whole(file)
    jpeg.check_whole(content, header.data)
    return content


def _by_opencv(content: bytes, order: str) -> NDArray[np.uint8] | None:
    """Returns what OpenCV makes of a plain JPEG; None: nothing, and Pillow says why."""
    if cv2 is None:
        return None
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None or order == "BGR":
        return pixels
    pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return _grey(Image.fromarray(pixels)) if order == "L" else pixels


def _decoded(file: BinaryIO) -> Image.Image:
    image = open_by_pillow(file)
    image.load()
    converted = to_rgb(image)
    if converted is not image:
        image.close()  # which gives its memory back at once
    return converted


class _Undecoded(JpegImageFile):
    """Says which file it is where decoding fails."""

    def load(self) -> Any:
        with reading(self.filename):
            return super().load()


def _to_array(image: Image.Image, order: str) -> NDArray[np.uint8]:
    if order == "L":
        return _grey(image)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows))) if rows < height else image
        values = np.frombuffer(strip.tobytes("raw", order), np.uint8)
        pixels[top : top + rows] = values.reshape(-1, width, 3)
    return pixels


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image.convert("L"))


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation == 1:
        return pixels
    swapped, reversed_axes = TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if swapped else pixels
    return np.flip(pixels, reversed_axes).copy()  # also of one pixel, which PyTorch wants so
