"""Pictures show detections: boxes, masks and names, each beside its object."""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib.font_manager import findfont, fontManager, get_font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

logger = logging.getLogger(__name__)

Colour = tuple[int, int, int]
Place = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are outside."""

LEAST_WIDTH = 512
"""Pixels; smaller images are enlarged, so that names have room beside the objects."""

LEAST_POINTS = 15
"""The names have at least this size."""

ASCII = frozenset(range(32, 127))
"""Scores and titles are of these characters."""

EMPTY = "Last Resort High-Efficiency"
"""This font of matplotlib's has a box in the place of each character."""

SHOWN = 20
"""So many characters are named that no font has."""

PADDING, ABOVE = 3, 2
"""Pixels around the text of a label, and above it."""

FILL = 0.35
"""The pixels that a mask covers have so much of its colour."""

GOLDEN = 0.381966
"""Hues that far apart, in turns, are all different, however many there are."""


@dataclass(frozen=True)
class Detections:
    """N objects are on one image, in its own pixels."""

    boxes: NDArray[np.floating]  # (N, 4): left, top, right and bottom
    labels: NDArray[np.integer]  # (N,), the number of each one's class
    masks: NDArray[np.bool_] | None = None  # (N, H, W)
    scores: NDArray[np.floating] | None = None  # (N,); None for ground truth


def class_colours(
    classes: Sequence[str], palette: Sequence[Colour] | str | None = None
) -> list[Colour]:
    """Returns an RGB colour for each class: the palette's, or hues far from each other.

    A palette is left out where it has another number of colours, as that of a data set has from
    which another one is derived, or is a name, of which MMDetection has "random".
    """
    if palette is not None and not isinstance(palette, str) and len(palette) == len(classes):
        return [(int(r), int(g), int(b)) for r, g, b in palette]
    hues = (0.02 + number * GOLDEN for number in range(len(classes)))
    rgb = (colorsys.hsv_to_rgb(hue % 1, 0.9, 1.0) for hue in hues)
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in rgb]


def draw_detections(
    image: NDArray[np.uint8],
    found: Detections,
    classes: Sequence[str],
    colours: Sequence[Colour],
    *,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draws objects on a copy of an image, (H, W, 3) in RGB, which is enlarged to `LEAST_WIDTH`.

    Labels are put beside their boxes, where they hide the least of any object and of each other.

    Args:
        classes, colours: of each class; `class_colours` makes the colours.
        title: written on a strip above the image; "" leaves out the strip.
    """
    factor = max(1.0, LEAST_WIDTH / image.shape[1])
    height, width = (round(factor * side) for side in image.shape[:2])
    picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    line = max(2, round(width / 300))
    characters = frozenset(map(ord, "".join([*classes, title])))
    font = _font(_font_file(characters | ASCII), max(LEAST_POINTS, round(width / 45)))
    boxes = np.rint(factor * found.boxes).astype(int).reshape(-1, 4)
    own = [colours[label] for label in found.labels]
    objects = np.zeros((height, width), bool)
    if found.masks is None:
        for left, top, right, bottom in boxes.clip(0):
            objects[top:bottom, left:right] = True
    else:
        masks = [_enlarged(mask, width, height) for mask in found.masks]
        for mask, colour in zip(masks, own, strict=True):
            objects |= mask
            picture[mask] = (1 - FILL) * picture[mask] + FILL * np.array(colour)
        for mask, colour in zip(masks, own, strict=True):
            _outline(picture, mask, colour, line)
    for (left, top, right, bottom), colour in zip(boxes.tolist(), own, strict=True):
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, line)

    names = [classes[label] for label in found.labels]
    if found.scores is not None:
        names = [f"{name} {score:.2f}" for name, score in zip(names, found.scores, strict=True)]
    sizes = [_size(font, name) for name in names]
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    places = place_labels(boxes.tolist(), sizes, objects)
    for name, (left, top, right, bottom), colour in zip(names, places, own, strict=True):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        draw.text((left + PADDING, top + ABOVE), name, font=font, fill=_readable_on(colour))
    return np.asarray(_titled(canvas, title, font) if title else canvas)


def place_labels(
    boxes: Sequence[Sequence[int]], sizes: Sequence[tuple[int, int]], objects: NDArray[np.bool_]
) -> list[Place]:
    """Returns a place for the label of each box, touching it, on the image if the label fits there:
    the one that hides the fewest pixels of `objects`, (H, W), and of earlier labels; of equals, the
    one above the top left corner and then on around the box.

    Args:
        boxes: left, top, right and bottom.
        sizes: width and height of each label.
    """
    height, width = objects.shape
    hidden = objects.astype(np.float32)
    places = []
    for box, (wide, high) in zip(boxes, sizes, strict=True):
        best, least = (0, 0, 0, 0), np.inf
        for x, y in _candidates(box, wide, high):
            left = min(max(x, 0), max(width - wide, 0))
            top = min(max(y, 0), max(height - high, 0))
            place = (left, top, left + wide, top + high)
            cost = float(hidden[top : place[3], left : place[2]].sum())
            if cost < least:
                best, least = place, cost
        places.append(best)
        # A label that lies on another one can be read as little as the other one.
        hidden[best[1] : best[3], best[0] : best[2]] += 4
    return places


def _candidates(box: Sequence[int], wide: int, high: int) -> list[tuple[int, int]]:
    """Returns left and top of the places of a label around a box, and then in it."""
    left, top, right, bottom = box
    columns = [left, right - wide, (left + right - wide) // 2]
    rows = [top, bottom - high, (top + bottom - high) // 2]
    return [
        *((x, top - high) for x in columns),
        *((x, bottom) for x in columns),
        *((right, y) for y in rows),
        *((left - wide, y) for y in rows),
        *((x, y) for y in rows for x in columns),
    ]


def _enlarged(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """Returns the mask at a size of at least its own, its edge without the steps of its pixels."""
    if mask.shape == (height, width):
        return mask.astype(bool)
    soft = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    # More would lose single pixels.
    return np.asarray(cv2.GaussianBlur(soft, (0, 0), 0.4 * width / mask.shape[1]) >= 0.5)


def _outline(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: Colour, line: int
) -> None:
    """Draws the edge of a mask, dark beside its colour, so that it shows on its own colour too."""
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, edges, -1, (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, edges, -1, colour, line, cv2.LINE_AA)


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _font_file(characters: frozenset[int]) -> str:
    """Returns the file of the first font of this machine that has the most of some characters."""
    usual = str(findfont("DejaVu Sans"))
    others = (str(font.fname) for font in fontManager.ttflist if font.name != EMPTY)
    best, left = usual, characters
    for file in (usual, *others):
        if not left:
            break
        with suppress(OSError, RuntimeError):  # it was taken away, or is of another kind
            without = characters - get_font(file).get_charmap().keys()
            if len(without) < len(left) and _font(file, LEAST_POINTS):
                best, left = file, without
    if left:
        shown = "".join(map(chr, sorted(left)[:SHOWN]))
        logger.warning(
            f"pictures: no font here has all characters of the names: empty boxes stand for "
            f"{shown}; install a font of that script"
        )
    return best


def _size(font: ImageFont.FreeTypeFont, text: str) -> tuple[int, int]:
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)) + 2 * PADDING, ascent + descent + PADDING


def _readable_on(colour: Colour) -> Colour:
    """Returns black or white, whichever stands out more (luma of ITU-R BT.601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def _titled(picture: Image.Image, title: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    _, high = _size(font, title)
    whole = ImageOps.expand(picture, (0, high + PADDING, 0, 0), "white")
    ImageDraw.Draw(whole).text((PADDING, ABOVE), title, font=font, fill="black")
    return whole
