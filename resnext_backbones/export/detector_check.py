"""What a file of a detector finds is compared with what PyTorch finds, box by box."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from resnext_backbones.data.find_images import find_images
from resnext_backbones.data.pixels import read_image
from resnext_backbones.datasets.shapes import generate_shapes
from resnext_backbones.errors import InputError, RunError
from resnext_backbones.export.images import normalised
from resnext_backbones.weights.preprocessing import Preprocessing

Found = dict[str, NDArray[Any]]
"""What was found in an image: `boxes` (N, 4), `labels` and `scores` (N,), the best first, and
`masks` (N, 1, H, W) of a Mask R-CNN."""

SIZES = ((331, 497), (640, 427), (275, 183))
"""Drawn images have these heights and widths, and no file is made with one of them."""

BOX, SCORE, MASK = 1e-4, 5e-4, 2e-3
"""So much may boxes differ, of the longer side of the image; scores; and probabilities of masks."""

EDGE = 0.1
"""So many of all boxes at most may be in one of both only, as good as the last that is kept."""

MOVED = 0.1
"""So many masks at most may begin or end in another pixel, since a corner rounds otherwise."""


@dataclass(frozen=True)
class Match:
    """Says how alike two findings of an image are.

    Attributes:
        size: height and width of the image.
        pairs: boxes that both have, which alone are compared.
        box, score, mask: the largest differences: in pixels, and of probabilities; 0 of nothing.
        swapped: boxes whose place in the order differs, since their scores are as good as equal.
        edge: boxes that only one of both has, with a score as good as that of the last one.
        moved: masks that were not compared, since a corner of their box rounds to another pixel.
    """

    size: tuple[int, int]
    pairs: int
    box: float
    score: float
    mask: float
    swapped: int
    edge: int
    moved: int


def matched(
    found: Found, wanted: Found, size: tuple[int, int], *, most: int, least: float
) -> Match:
    """Returns how what a file found matches what PyTorch finds.

    Every box has its own counterpart, of the same label, in the same place and with the same score;
    only those with scores as good as equal may have changed places, and only what is as bad as the
    last one may be missing, of few boxes.

    Args:
        most: boxes of an image that a detector returns.
        least: its threshold of scores.

    Raises:
        RunError: a box has no counterpart, or too many of the last have none, or a mask has another
            shape.
    """
    reach = BOX * max(size)
    places = _counterparts(found, wanted, reach)
    pairs = [(ours, theirs) for theirs, ours in enumerate(places) if ours >= 0]
    edge = 0
    spare = set(range(len(found["scores"]))) - {ours for ours, _ in pairs}
    alone = ((wanted, [i for i, ours in enumerate(places) if ours < 0]), (found, sorted(spare)))
    for name, (side, indices) in zip(("PyTorch", "the file"), alone, strict=True):
        full = len(side["scores"]) >= most
        last = max(least, float(side["scores"][-1]) if full else 0.0)
        for i in indices:
            if side["scores"][i] > last + SCORE:
                raise RunError(
                    f"on an image of {size[0]} x {size[1]} only {name} finds a box at "
                    f"{np.round(side['boxes'][i], 1).tolist()} of class {side['labels'][i]} with a "
                    f"score of {side['scores'][i]:.4f}; nothing was written"
                )
            edge += 1
    both = len(found["scores"]) + len(wanted["scores"])
    if edge > max(2, EDGE * both):
        raise RunError(
            f"on an image of {size[0]} x {size[1]} {edge} of PyTorch's and the file's {both} boxes "
            "are in one of both only; nothing was written"
        )
    ours, theirs = ([pair[k] for pair in pairs] for k in (0, 1))
    mask, moved = _masks(found, wanted, ours, theirs, size)
    return Match(
        size=size,
        pairs=len(pairs),
        box=_most(found["boxes"][ours] - wanted["boxes"][theirs]),
        score=_most(found["scores"][ours] - wanted["scores"][theirs]),
        mask=mask,
        swapped=sum(a != b for a, b in zip(ours, sorted(ours), strict=True)),
        edge=edge,
        moved=moved,
    )


def _counterparts(found: Found, wanted: Found, reach: float) -> list[int]:
    """Returns for each box that is wanted the index of the one that was found, or -1."""
    free = np.ones(len(found["scores"]), bool)
    places = []
    for box, label, score in zip(wanted["boxes"], wanted["labels"], wanted["scores"], strict=True):
        away = np.abs(found["boxes"] - box).max(1, initial=0)
        fits = free & (found["labels"] == label) & (away <= reach)
        fits &= np.abs(found["scores"] - score) <= SCORE
        place = int(np.where(fits, away, np.inf).argmin()) if fits.any() else -1
        if place >= 0:
            free[place] = False
        places.append(place)
    return places


def _masks(
    found: Found, wanted: Found, ours: list[int], theirs: list[int], size: tuple[int, int]
) -> tuple[float, int]:
    """Returns the largest difference of masks, and how many have another first or last pixel."""
    if "masks" not in wanted:
        return 0.0, 0
    if found["masks"].shape[1:] != wanted["masks"].shape[1:]:
        shapes = found["masks"].shape, wanted["masks"].shape
        raise RunError(f"masks of {shapes[0]}, and PyTorch's of {shapes[1]}; nothing was written")
    pixels = [_pixels(side["boxes"][i]) for side, i in ((found, ours), (wanted, theirs))]
    same = (pixels[0] == pixels[1]).all(1)
    worst = max(
        (
            _most(found["masks"][i] - wanted["masks"][j])
            for i, j, alike in zip(ours, theirs, same, strict=True)
            if alike
        ),
        default=0.0,
    )
    moved = int((~same).sum())
    if worst > MASK or moved > max(1, MOVED * len(same)):
        raise RunError(
            f"on an image of {size[0]} x {size[1]} masks differ from PyTorch's by {worst:.1e}, and "
            f"{moved} of {len(same)} lie elsewhere; nothing was written"
        )
    return worst, moved


def _pixels(boxes: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the first and last pixels that torchvision puts masks of 28 x 28 between."""
    _, scale = expand_masks(torch.zeros(0, 1, 28, 28), padding=1)
    return expand_boxes(torch.from_numpy(boxes), scale).to(torch.int64).numpy()


def _most(difference: NDArray[Any]) -> float:
    return float(np.abs(difference).max(initial=0.0))


def images_for(folder: Path | None, pixels: Preprocessing) -> list[NDArray[np.float32]]:
    """Returns three normalised images (1, 3, H, W) of three sizes, of a folder or drawn.

    Raises:
        InputError: the folder has no images of three sizes.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as drawn:
            for i, size in enumerate(SIZES):
                generate_shapes(
                    Path(drawn) / str(i), num_train=1, num_val=1, image_size=size, seed=i
                )
            return list(_of_sizes(sorted(Path(drawn).glob("*/train*/*.jpg")), pixels))
    found = find_images([str(folder)])
    return list(_of_sizes([found.root / name for name in found.names], pixels, str(folder)))


def _of_sizes(
    paths: Sequence[Path], pixels: Preprocessing, where: str = ""
) -> Iterator[NDArray[np.float32]]:
    sizes: set[tuple[int, ...]] = set()
    for path in paths:
        image = read_image(path)
        if image.shape not in sizes:
            sizes.add(image.shape)
            yield normalised(image, pixels)
        if len(sizes) == len(SIZES):
            break
    if len(sizes) < len(SIZES):
        raise InputError(f"--images {where}: has images of {len(sizes)} sizes, and 3 are compared")
