"""An image that is long and thin must keep a pixel of its shorter side where it is made smaller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError, some

RESIZING = {"Resize": "scale", "RandomResize": "scale", "RandomChoiceResize": "scales"}
"""Transforms of MMDetection that make images smaller, and what says the sizes."""


MOST = 1 << 24
"""Pixels of a side; a scale may be infinite where only the other side counts."""

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


def _pairs(given: Any, shown: str) -> Iterator[tuple[int, int]]:
    """Yields sizes as pairs: of one, of one number for both sides, or of a list of these."""
    if isinstance(given, int | float):
        given = given, given
    several = isinstance(given, list | tuple) and given
    if several and not all(isinstance(side, int | float) for side in given):
        for size in given:
            yield from _pairs(size, shown)
    elif not (several and len(given) == 2 and min(given) >= 1):
        raise InputError(f"{shown}: sizes are width and height, in pixels above 0")
    else:
        yield int(min(given[0], MOST)), int(min(given[1], MOST))


def resized_to(pipeline: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Yields the sizes to which transforms of MMDetection resize images and keep their ratio.
    InputError: one is no size.
    """
    for step in pipeline:
        if not isinstance(step, Mapping):
            continue
        name = str(step.get("type")).removeprefix("mmdet.")
        setting = RESIZING.get(name, "")
        pairs = []
        if (given := step.get(setting)) is not None:
            pairs = list(_pairs(given, f"{name}({setting}={given!r})"))
        if step.get("keep_ratio", name == "RandomChoiceResize") or "Random" in name:
            yield from pairs
        inner = step.get("transforms") or ()
        flat = chain.from_iterable(t if isinstance(t, list | tuple) else [t] for t in inner)
        yield from resized_to(flat)
