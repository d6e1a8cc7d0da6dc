"""Pipelines of MMDetection say to which sizes they resize images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from resnext_backbones.errors import InputError

RESIZING = {"Resize": "scale", "RandomResize": "scale", "RandomChoiceResize": "scales"}
"""Transforms of MMDetection that make images smaller, and what says the sizes."""

ABSOLUTE = "absolute"
"""A crop of this type, or of a range of it, has at most as many pixels as it says."""

MOST = 1 << 24
"""Pixels of a side; a scale may be infinite where only the other side counts."""


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


def largest_sizes(
    pipeline: Iterable[Any], sizes: Sequence[tuple[int, int]] = ()
) -> list[tuple[int, int]]:
    """Returns the largest sizes that images have behind transforms of MMDetection, one for each
    way through them; nothing where they do not say it. InputError: one is no size.

    Args:
        sizes: those that images have before.
    """
    for step in pipeline:
        if not isinstance(step, Mapping):
            continue
        name = str(step.get("type")).removeprefix("mmdet.")
        inner = step.get("transforms") or ()
        if name in RESIZING and (given := step.get(RESIZING[name])) is not None:
            pairs = list(_pairs(given, f"{name}({RESIZING[name]}={given!r})"))
            # Of a range of sizes mmcv takes no ratio.
            most = max(step.get("ratio_range") or (1,)) if len(pairs) == 1 else 1
            sizes = [(int(width * most), int(height * most)) for width, height in pairs]
        elif "Crop" in name and str(step.get("crop_type", ABSOLUTE)).startswith(ABSOLUTE):
            if given := step.get("crop_size"):
                ((width, height),) = _pairs(given, f"{name}(crop_size={given!r})")
                short, long = sorted((width, height))
                sizes = [(min(min(s), short), min(max(s), long)) for s in sizes]
        elif "Choice" in name:
            ways = [way if isinstance(way, list | tuple) else [way] for way in inner]
            sizes = [size for way in ways for size in largest_sizes(way, sizes)]
        elif inner:
            without = sizes if "RandomApply" in name else ()
            sizes = [*without, *largest_sizes(inner, sizes)]
    return list(sizes)


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
