"""What an image file says before its pixels: whether it is one, its size, how it is turned."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

from resnext_backbones.data import jpeg
from resnext_backbones.errors import InputError
from resnext_backbones.other_files import what_else

Source = str | os.PathLike[str] | bytes
"""A path, or what a file holds."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""These are read, by what a file begins with; its name says nothing."""

UNREAD = tuple(
    (begin, f"a {name} that is damaged, or of a kind that Pillow does not read")
    for begin, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG", "PNG"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"\0\0\0\x0cjP", "JPEG 2000"),
    )
)
"""What begins like these is an image of a known format, also where it cannot be read."""

HEIF = b"ftyphei", b"ftypmif1", b"ftypmsf1"
"""These stand behind the first four bytes of phones' pictures."""

MAX_PIXELS = "RESNEXT_BACKBONES_MAX_PIXELS"
"""Environment variable: pixels of the largest image, in the place of Pillow's limit."""

LARGER = f"make it smaller, or set {MAX_PIXELS}"

MOST_BYTES = 1 << 28
"""What is held whole may have so many: a sparse file can claim any number."""

# Sizes are checked here, where a message can name the file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

MOST_CHUNKS = 1 << 16
PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION, WIDTH, HEIGHT = 274, 256, 257
"""Tags of EXIF, which are TIFF's."""


class Stored(NamedTuple):
    """Says how an image lies in its file."""

    size: tuple[int, int]  # width, height
    orientation: int  # of EXIF, from 1 to 8: how it is to be turned
    turns_itself: bool = False  # Pillow turns it as it decodes
    jpeg: jpeg.Header | None = None

    @property
    def turned(self) -> tuple[int, int]:
        """Returns width and height as the image is shown."""
        return self.size if self.orientation < 5 else (self.size[1], self.size[0])

    def chosen(self, size: tuple[int, int] | None, name: object) -> int:
        """Returns the orientation by which an image gets the size of its annotations; InputError
        says both sizes where none does.
        """
        if size is None or size == self.turned:
            return self.orientation
        if size == self.size:
            return 1
        raise InputError(f"image {_named(name)}: {self.unlike(size)}")

    def unlike(self, size: tuple[int, int]) -> str:
        """Says which size an image has, and which one its annotations are for."""
        (width, height), (wanted, high) = self.turned, size
        return f"is {width} x {height} pixels, and its annotations are for {wanted} x {high}"


@contextmanager
def reading(name: object, what: str = "image") -> Iterator[None]:
    """Names the image or mask that cannot be read, for whatever reason, in an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of damaged files Pillow raises anything
        raise InputError(f"{what} {_named(name)}: cannot be read: {_reason(error)}") from error


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Opens what is a file; of a pipe, whose reader would wait, ValueError says that it is none."""
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    with open(source, "rb", opener=_at_once) as file:  # no Path for each image
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no file")
        yield file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_stored(file: BinaryIO) -> Stored:
    """Returns what the header of an image says; ValueError: it is too large to be read."""
    stored, head = None, file.read(len(PNG))
    if head == PNG:
        stored = _png(file)
    elif head.startswith(jpeg.START) and (header := jpeg.read_header(file)):
        stored = Stored(header.size, _orientation(header.exif), jpeg=header)
    if stored is None:
        image = open_by_pillow(file)
        if image.format == "TIFF":
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            size, orientation = (tags[WIDTH], tags[HEIGHT]), _known(tags.get(ORIENTATION))
            stored = Stored(size, orientation, turns_itself=True)
        else:
            stored = Stored(image.size, _orientation(image.info.get("exif")))
    (width, height), most = stored.size, _most_pixels()
    if not (width and height):
        raise ValueError("it has no pixels")
    if most is not None and width * height > most:
        raise ValueError(
            f"it has {width} x {height} pixels, and more than {most} may be an attack; {LARGER}"
        )
    return stored


def read_whole(file: BinaryIO) -> bytes:
    """Returns all of a file; ValueError: it is too large to be held."""
    if file.seek(0, os.SEEK_END) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    file.seek(0)
    return file.read()


def open_by_pillow(file: BinaryIO) -> Image.Image:
    """Returns an image that is not decoded yet."""
    _most_pixels()
    file.seek(0)
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError as error:
        file.seek(0)
        raise ValueError(f"it is {_what_else(file.read(32))}") from error


def _what_else(start: bytes) -> str:
    if start[4:].startswith(HEIF):
        return "HEIC, as phones write it, which Pillow does not read: convert it to JPEG"
    return what_else(start, UNREAD) or f"none of {', '.join(_formats())}"


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _most_pixels() -> int | None:
    if given := os.environ.get(MAX_PIXELS):
        if not given.isdecimal():
            raise InputError(f"{MAX_PIXELS} {given}: must be a number of pixels")
        Image.MAX_IMAGE_PIXELS = int(given)
    return Image.MAX_IMAGE_PIXELS


def _png(file: BinaryIO) -> Stored | None:
    """Returns what a PNG's chunks say, of which EXIF may be the last."""
    size, orientation = None, 1
    for _ in range(MOST_CHUNKS):
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if len(kind) < 4 or kind == b"IEND":
            break
        content = file.read(min(length, 1 << 16)) if kind in (b"IHDR", b"eXIf") else b""
        if kind == b"IHDR":
            size = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
        elif kind == b"eXIf":
            orientation = _orientation(content)
        file.seek(length - len(content) + 4, os.SEEK_CUR)
    return Stored(size, orientation) if size else None


def _orientation(exif: bytes | None) -> int:
    if not exif:
        return 1
    try:
        content = Image.Exif()
        content.load(exif)
        return _known(content.get(ORIENTATION))
    except Exception:  # EXIF that is damaged says nothing, and hides no pixel
        return 1


def _known(orientation: Any) -> int:
    return orientation if orientation in range(1, 9) else 1


def _named(name: object) -> str:
    return f"of {len(name)} bytes" if isinstance(name, bytes) else str(name)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"{error} {LARGER}"
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
