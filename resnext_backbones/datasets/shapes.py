"""Shapes are drawn for a small data set of instance segmentation, in COCO's layout.

Saturated, textured shapes overlap on a greyish background of gradient, noise and scribbles.
As with real things, colour is a hint and no proof: every category has a hue that it prefers,
spread so far that neighbours share colours. With it a small detector learns the categories
from scratch in minutes.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from resnext_backbones.data.annotations import annotation_file
from resnext_backbones.io import whole_tree

Image = NDArray[np.uint8]  # (H, W, 3), RGB
InstanceMap = NDArray[np.int32]  # (H, W), 0 the background, k the k-th shape's visible part


def _polar(corners: int, *radii: float) -> NDArray[np.float64]:
    """Returns corners at equal angles, their radii taken in turn, as (x, y) around the origin."""
    angles = np.arange(corners) * (2 * np.pi / corners)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points * np.resize(np.asarray(radii), corners)[:, None]


_ARM = 0.32  # half the width of the cross's arms
_QUARTER = np.array([[0.95, -_ARM], [0.95, _ARM], [_ARM, _ARM]])
_TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a quarter turn of row vectors

_OUTLINES: dict[str, NDArray[np.float64]] = {
    "circle": _polar(64, 0.85),
    "square": _polar(4, 1.0),
    "triangle": _polar(3, 1.05),
    "star": _polar(10, 1.1, 0.45),
    "cross": np.concatenate([_QUARTER @ np.linalg.matrix_power(_TURN, k) for k in range(4)]),
}

SHAPES = tuple(_OUTLINES)  # the categories' names; COCO's ids count them from 1

_MIN_SIDE = 32
_SHAPES_PER_IMAGE = (3, 6)
_RADIUS = (0.12, 0.26)  # of the shorter side
_HUE_SPREAD = 0.3  # standard deviation, in steps from one category's hue to the next
_MIN_VISIBLE = 0.5  # of what a shape shows before others are drawn over it
_TRIES = 20  # places tried for a shape before the image does without it


def generate_shapes(
    root: str | os.PathLike[str],
    *,
    num_train: int = 400,
    num_val: int = 100,
    image_size: Sequence[int] = (128, 128),
    seed: int = 0,
) -> Path:
    """Draws the data set and writes it to `root`, whole or not at all; returns `root` as a path.

    The layout is COCO 2017's: `annotations/instances_{train,val}2017.json` beside `train2017/` and
    `val2017/` with JPEG images `000000000001.jpg` and on. Segmentations are polygons along pixel
    edges around what is visible of a shape, so that decoding them gives back exactly the drawn
    pixels; boxes (x, y, width, height) and areas are in pixels. Every image has its own random
    stream: equal arguments write equal files, and the val images do not depend on `num_train`.

    Args:
        image_size: (height, width) in pixels, each at least 32.

    Raises:
        ValueError: an argument is out of range.
        FileExistsError: `root` is a file or a directory that is not empty.
    """
    counts = {"num_train": (num_train, 1), "num_val": (num_val, 1), "seed": (seed, 0)}
    for name, (number, least) in counts.items():
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
    wrong = (not isinstance(side, int) or side < _MIN_SIDE for side in image_size)
    if len(image_size) != 2 or any(wrong):
        raise ValueError(
            f"image_size must be (height, width), integers of at least {_MIN_SIDE}, "
            f"got {image_size!r}"
        )
    root, (height, width) = Path(root), image_size
    with whole_tree(root) as partial:
        (partial / "annotations").mkdir()
        _write_split(partial, "train2017", num_train, 1, (height, width), (seed, 0))
        _write_split(partial, "val2017", num_val, 1 + num_train, (height, width), (seed, 1))
    return root


def _write_split(
    root: Path, split: str, count: int, first_id: int, size: tuple[int, int], seeds: tuple[int, int]
) -> None:
    """Writes `root/split` and its annotations; `seeds` tell its images from other splits'."""
    (root / split).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        rng = np.random.default_rng([*seeds, index])
        instances, names = _place_shapes(rng, size)
        pixels = _paint(rng, instances, names)
        shape = {"height": size[0], "width": size[1]}
        image = {"id": first_id + index, "file_name": f"{first_id + index:012d}.jpg"}
        _write_jpeg(root / split / str(image["file_name"]), pixels)
        images.append(image | shape | {"license": 1})
        for label, name in enumerate(names, start=1):
            mask = instances == label
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": SHAPES.index(name) + 1,
                    "segmentation": [polygon.ravel().tolist() for polygon in _trace(mask)[0]],
                    "bbox": list(cv2.boundingRect(mask.astype(np.uint8))),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                }
            )
    licence = "https://creativecommons.org/publicdomain/zero/1.0/"
    kinds = enumerate(SHAPES, start=1)
    content = {
        "info": {"description": f"Drawn shapes, {split}, seed {seeds[0]}", "version": "1.0"},
        "licenses": [{"id": 1, "name": "CC0 1.0", "url": licence}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n, "name": name, "supercategory": "shape"} for n, name in kinds],
    }
    annotation_file(root, split).write_text(json.dumps(content))


def _place_shapes(rng: np.random.Generator, size: tuple[int, int]) -> tuple[InstanceMap, list[str]]:
    """Lays shapes over each other, none hidden more than half and none with a hole."""
    instances: InstanceMap = np.zeros(size, np.int32)
    names: list[str] = []
    drawn: list[int] = []  # pixels of each shape before others were drawn over it
    for _ in range(rng.integers(*_SHAPES_PER_IMAGE, endpoint=True)):
        name = SHAPES[rng.integers(len(SHAPES))]
        for _ in range(_TRIES):
            mask = _random_mask(rng, name, size)
            candidate = np.where(mask, np.int32(len(names) + 1), instances)
            areas = [*drawn, int(mask.sum())]
            if all(_acceptable(candidate == n, area) for n, area in enumerate(areas, start=1)):
                instances, drawn = candidate, areas
                names.append(name)
                break
    return instances, names


def _acceptable(visible: NDArray[np.bool_], area: int) -> bool:
    # COCO's polygons cannot say that something has a hole.
    return bool(visible.sum() >= _MIN_VISIBLE * area) and not _trace(visible)[1]


def _random_mask(rng: np.random.Generator, name: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns one shape at a random place, radius and angle, at most a little cut by the frame."""
    height, width = size
    radius = rng.uniform(*_RADIUS) * min(size)
    angle = rng.uniform(0, 2 * np.pi)
    centre = rng.uniform([0.7 * radius] * 2, [width - 0.7 * radius, height - 0.7 * radius])
    cos, sin = np.cos(angle), np.sin(angle)
    corners = _OUTLINES[name] @ np.array([[cos, sin], [-sin, cos]]) * radius + centre
    mask = np.zeros(size, np.uint8)
    # The last 4 bits of the coordinates are the fraction of a pixel.
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], (1,), shift=4)
    return mask.astype(bool)


def _trace(mask: NDArray[np.bool_]) -> tuple[list[NDArray[np.int32]], bool]:
    """Returns polygons (V, 2) of (x, y) along pixel edges, and whether the mask has holes."""
    # OpenCV walks through pixel centres. At twice the size pixel x is columns 2x and 2x + 1,
    # and half of either, rounded up, is the edge on its side: x or x + 1.
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    has_holes = tree is not None and bool((tree[0, :, 3] >= 0).any())
    return [(np.asarray(contour[:, 0], np.int32) + 1) // 2 for contour in contours], has_holes


def _paint(rng: np.random.Generator, instances: InstanceMap, names: list[str]) -> Image:
    """Gives the background and every shape its colours, softens, and adds the sensor's noise."""
    height, width = instances.shape
    image = _background(rng, height, width)
    ys, xs = np.mgrid[:height, :width]
    for label, name in enumerate(names, start=1):
        hue = (SHAPES.index(name) + rng.normal(0, _HUE_SPREAD)) * 180 / len(SHAPES)
        colour = _rgb(hue, rng.uniform(170, 255), rng.uniform(150, 255))
        direction = rng.uniform(0, np.pi)
        wave = np.sin((xs * np.cos(direction) + ys * np.sin(direction)) * rng.uniform(0.3, 1.2))
        shade = 1 - rng.uniform(0, 0.25) * (1 + wave) / 2
        image = np.where((instances == label)[..., None], colour * shade[..., None], image)
    noisy = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6)) + rng.normal(0, 5, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Returns a gradient between two greyish colours under blotches and scribbled lines."""
    tones = [_rgb(rng.uniform(0, 180), rng.uniform(0, 50), rng.uniform(40, 230)) for _ in range(2)]
    along = np.linspace(0, 1, width)[None, :] + np.zeros((height, 1))
    if rng.random() < 0.5:
        along = np.linspace(0, 1, height)[:, None] + np.zeros((1, width))
    coarse = rng.normal(0, 15, (height // 8 + 1, width // 8 + 1))
    blotches = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    image = tones[0] + (tones[1] - tones[0]) * along[..., None] + blotches[..., None]
    for _ in range(rng.integers(4, 12)):
        grey = float(rng.uniform(20, 240))
        ends = rng.integers(0, [width, height], (2, 2)).tolist()
        cv2.line(image, ends[0], ends[1], (grey, grey, grey), int(rng.integers(1, 3)))
    return np.asarray(image, np.float64)


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """Returns OpenCV's 8-bit HSV (hue 0 to 180) as RGB in 0 to 255, shape (3,)."""
    hsv = np.array([[[hue % 180, saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float64)


def _write_jpeg(path: Path, image: Image) -> None:
    # imencode, as imwrite reports a failure only by returning False.
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    path.write_bytes(encoded.tobytes())
