"""Image files of many kinds: what all tools read alike, what they refuse, and damage."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
SCENE = Image.radial_gradient("L").resize((WIDTH, HEIGHT))
COLOURED = Image.merge(
    "RGB", (SCENE, SCENE.rotate(180), SCENE.transpose(Image.Transpose.ROTATE_90).resize(SCENE.size))
)
GREY16 = np.asarray(SCENE).astype(np.uint16) * 257 - np.uint16(100) * (np.asarray(SCENE) > 0)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    others = [frame.copy() for frame in options.pop("append_images", ())]
    options |= {"append_images": others} if others else {}
    image.copy().save(file, kind, **options)  # Pillow leaves a format's settings on the image
    return file.getvalue()


def tiff(bits: int, photometric: int, values: bytes, width: int = WIDTH) -> bytes:
    """A TIFF of one strip of grey, as Pillow does not write it."""
    tags = [
        (256, 4, width),
        (257, 4, width * HEIGHT // WIDTH),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
    ]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, HEIGHT), (279, 4, len(values))]
    entries = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little") for tag, kind, value in tags
    )  # fmt: skip
    start = b"II*\0" + (8 + len(values)).to_bytes(4, "little")
    return start + values + len(tags).to_bytes(2, "little") + entries + bytes(4)


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return saved(COLOURED, kind, exif=exif)


def twelve_bits() -> bytes:
    pairs = (GREY16 >> 4).reshape(-1, 2).astype(int)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1
    )
    return packed.astype(np.uint8).tobytes()


def palette() -> Image.Image:
    image = COLOURED.quantize(16)
    image.info["transparency"] = bytes([0, 255] * 8)
    return image


def alpha(mode: str) -> Image.Image:
    image = COLOURED.convert("L" if mode == "LA" else "RGB")
    image.putalpha(SCENE)
    return image


def frames(image: Image.Image, kind: str) -> bytes:
    """Two pictures in one file. Saving leaves settings in an image, so each file has its own."""
    return saved(image.copy(), kind, save_all=True, append_images=[COLOURED.rotate(180)])


WHITE = Image.new("RGB", (2000, 900), "white")
HIGH = np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, axis=2)
BIG_ENDIAN = Image.frombytes("I;16B", (WIDTH, HEIGHT), GREY16.astype(">u2").tobytes())

READ: dict[str, tuple[Callable[[], bytes], np.ndarray | None]] = {
    "png": (lambda: saved(COLOURED, "PNG"), np.asarray(COLOURED)),
    "jpeg": (lambda: saved(COLOURED, "JPEG"), None),
    "jpeg, progressive": (lambda: saved(COLOURED, "JPEG", progressive=True), None),
    "jpeg, grey": (lambda: saved(SCENE, "JPEG"), None),
    "jpeg, cmyk": (lambda: saved(COLOURED.convert("CMYK"), "JPEG"), None),
    "jpeg, two pictures": (lambda: frames(COLOURED, "MPO"), None),
    "jpeg and a film": (lambda: saved(COLOURED, "JPEG") + b"ftypmp42" * 99, None),
    "jpeg in restarts": (lambda: saved(COLOURED, "JPEG", restart_marker_blocks=2), None),
    "jpeg, flat": (lambda: saved(WHITE, "JPEG", optimize=True), None),
    "one bit": (lambda: saved(SCENE.convert("1"), "PNG"), None),
    "palette": (lambda: saved(palette(), "PNG"), np.asarray(COLOURED.quantize(16).convert("RGB"))),
    "alpha": (lambda: saved(alpha("RGBA"), "PNG"), np.asarray(COLOURED)),
    "grey and alpha": (lambda: saved(alpha("LA"), "PNG"), None),
    "gif, frames": (lambda: frames(SCENE, "GIF"), np.asarray(SCENE.convert("RGB"))),
    "webp, alpha": (
        lambda: saved(alpha("RGBA"), "WEBP", lossless=True, exact=True), np.asarray(COLOURED)
    ),
    "png, frames": (lambda: frames(COLOURED, "PNG"), np.asarray(COLOURED)),
    "jpeg 2000": (lambda: saved(COLOURED, "JPEG2000"), np.asarray(COLOURED)),
    "tiff, pages": (lambda: frames(COLOURED, "TIFF"), np.asarray(COLOURED)),
    "tiff, packed": (lambda: saved(COLOURED, "TIFF", compression="tiff_lzw"), np.asarray(COLOURED)),
    "tiff, cmyk": (lambda: saved(COLOURED.convert("CMYK"), "TIFF"), np.asarray(COLOURED)),
    "16 bits": (lambda: saved(Image.fromarray(GREY16), "PNG"), HIGH),
    "16 bits, tiff": (lambda: saved(Image.fromarray(GREY16), "TIFF"), HIGH),
    "16 bits, big-endian": (lambda: saved(BIG_ENDIAN, "TIFF"), HIGH),
    "16 bits, pgm": (lambda: saved(Image.fromarray(GREY16), "PPM"), HIGH),
    "16 bits, white is 0": (lambda: tiff(16, 0, (65535 - GREY16).astype("<u2").tobytes()), HIGH),
    "12 bits": (lambda: tiff(12, 1, twelve_bits()), HIGH),
    **{
        f"{kind}, EXIF {orientation}": (lambda k=kind, o=orientation: turned(k, o), None)
        for kind in ("JPEG", "PNG", "TIFF", "WEBP")
        for orientation in (range(10) if kind == "JPEG" else (3, 6))
    },
    "damaged EXIF": (lambda: saved(COLOURED, "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40), None),
}  # fmt: skip
"""Contents, and their pixels; None are Pillow's, turned by EXIF and made RGB."""


def holed(content: bytes, count: int = 200) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(count) + content[middle + count :]


def claims(content: bytes, place: int, size: bytes) -> bytes:
    return content[:place] + size + content[place + len(size) :]


BIG = Image.effect_noise((640, 480), 90).convert("RGB")
READ_NO = "cannot be read"
SIGNED = Image.fromarray(GREY16.astype(np.int32) - 1000)

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it is empty"),
    "a page": (lambda: b"<!DOCTYPE html><html>Not found</html>", "a page of the web"),
    "a pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "postscript": (lambda: saved(COLOURED, "EPS"), "none of .*JPEG"),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "HEIC, .*: convert it to JPEG"),
    "fractions, three channels": (
        lambda: tiff(32, 2, bytes(4)),
        "a TIFF that is damaged, or of a kind",
    ),
    "cut off": (lambda: saved(BIG, "JPEG")[:-900], "truncated: it has no end"),
    "without its end": (lambda: saved(COLOURED, "JPEG")[:-2], "truncated: it has no end"),
    "zeros at its end": (lambda: saved(BIG, "JPEG")[:-900] + bytes(900), "hole of 9.. bytes"),
    "hole": (lambda: holed(saved(BIG, "JPEG")), "hole of 20.* bytes of zero at byte"),
    "hole, progressive": (lambda: holed(saved(BIG, "JPEG", progressive=True)), "hole of"),
    "garbage": (lambda: claims(saved(BIG, "JPEG"), 3000, b"\xff\xc7" * 40), "marker FFC7 among"),
    "hole, png": (lambda: holed(saved(BIG, "PNG")), "cannot be read"),
    "cut off, png": (lambda: saved(BIG, "PNG")[:-900], "cannot be read"),
    "32 bits": (lambda: saved(SIGNED, "TIFF"), "whole numbers of 32 bits, or with a sign"),
    "fractions": (lambda: saved(SCENE.convert("F"), "TIFF"), "fractions, which have no one"),
    "lab": (lambda: saved(Image.merge("LAB", COLOURED.split()), "TIFF"), "CIELAB"),
    "8 bits in 16": (lambda: saved(Image.fromarray(GREY16 >> 8), "PNG"), "no value above 2.., so"),
    "bomb, png": (lambda: saved(Image.new("1", (14000, 14000)), "PNG"), "14000 x 14000 pixels"),
    "bomb, jpeg": (lambda: saved(Image.new("L", (10000, 10000)), "JPEG"), "10000 x 10000 pixels"),
    "bomb, bmp": (lambda: claims(saved(COLOURED, "BMP"), 20, b"\xff\x7f"), "exceeds limit"),
    "bomb, gif": (lambda: claims(saved(SCENE, "GIF"), 6, b"\xff" * 4), "exceeds limit"),
    "bomb, tiff": (lambda: tiff(8, 1, bytes(8), 1 << 17), "exceeds limit"),
    "bomb, webp": (lambda: claims(saved(alpha("RGBA"), "WEBP"), 24, b"\xff\x3f\0" * 2), READ_NO),
    "bomb, jpeg 2000": (lambda: claims(saved(SCENE, "JPEG2000"), 48, b"\0\1\0\0" * 2), READ_NO),
    "no width": (lambda: claims(saved(COLOURED, "PNG"), 16, bytes(4)), "no pixels"),
}  # fmt: skip
"""Contents, and what the message says."""


DAMAGES: dict[str, Callable[[bytes, int, int], bytes]] = {
    "none": lambda c, *_: c,
    "cut off": lambda c, at, _: c[:at],
    "zeros": lambda c, at, count: c[:at] + bytes(min(count, len(c) - at)) + c[at + count :],
    "left out": lambda c, at, count: c[:at] + c[at + count :],
    "twice": lambda c, at, count: c[: at + count] + c[at:],
    "other bits": lambda c, at, count: c[:at] + bytes([c[at] ^ (1 + count % 255)]) + c[at + 1 :],
    "ones": lambda c, at, count: c[:at] + b"\xff" * min(count, len(c) - at) + c[at + count :],
}
KINDS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM", "AVIF")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")


def drawn(kind: str, mode: str, size: tuple[int, int], orientation: int) -> bytes:
    image = COLOURED.resize(size)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    try:
        return saved(image, kind, exif=exif)
    except (OSError, ValueError, KeyError):  # Pillow does not write it
        return saved(image.convert("L"), kind)
