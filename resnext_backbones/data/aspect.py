"""An image that is long and thin must keep a pixel of its shorter side where it is made smaller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError, some

ROUNDED, CUT = 0.5, 1.0
"""A side that is shorter than this becomes nothing, where sizes are rounded, or cut off."""


def check_aspect(
    path: Path,
    images: Iterable[Mapping[str, Any]],
    sizes: Iterable[Any],
    *,
    least: float = ROUNDED,
) -> None:
    """Raises InputError where an image would lose its shorter side, which would be 0 pixels.

    Args:
        path: of the annotation file, for the message.
        images: with `width`, `height` and `file_name`, as COCO's files list them.
        sizes: pairs of the longest that a longer side and a shorter one may become.
        least: pixels of a side that is kept.
    """
    pairs = [(max(size), min(size)) for size in sizes]
    lost = [image for image in images if any(not _keeps(image, *pair, least) for pair in pairs)]
    if lost:
        named = (f"{i.get('file_name')} ({i['width']} x {i['height']})" for i in lost)
        largest = "x".join(map(str, max(pairs)))
        raise InputError(
            f"annotation file {path}: {len(lost)} images are too thin to be resized to {largest} "
            f"pixels, of which their shorter side would be less than one: {some(named)}; cut them "
            "into parts, leave them out, or resize to a larger scale"
        )


def _keeps(image: Mapping[str, Any], longer: int, shorter: int, least: float) -> bool:
    sides = [s for s in (image.get("width"), image.get("height")) if isinstance(s, int | float)]
    if len(sides) < 2 or min(sides) <= 0:  # which other checks tell
        return True
    factor = min(longer / max(sides), shorter / min(sides))
    return min(sides) * factor >= least
