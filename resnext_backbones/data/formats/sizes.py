"""Sizes of images, as their files have them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from resnext_backbones.data.formats.labels import Account

ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values of a quarter turn


def shown_size(path: Path, account: Account) -> tuple[int, int] | None:
    """Returns width and height as the image is shown; None, and a problem, where it is broken."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
    except Exception as error:  # PIL's formats raise whatever their bytes lead to
        account.problem(str(path), f"cannot be read: {error}")
        return None
    return (height, width) if turned else (width, height)
