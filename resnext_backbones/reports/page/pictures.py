"""The best and the worst images are shown, the truth beside what was found."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from resnext_backbones.data.pixels import read_image
from resnext_backbones.errors import InputError
from resnext_backbones.reports.drawing import Detections, class_colours, draw_detections
from resnext_backbones.reports.page.scores import Evaluated, ImageScore, Results

SHOWN = 6
"""So many images are shown of the best ones, and of the worst."""

WIDTH = 720
"""Pixels; larger images are made smaller, and small ones are enlarged by `drawing`."""

HEIGHT = 960

QUALITY = 80
"""JPEG's."""

DRAWN = 60
"""So many objects of an image are drawn, the surest first: more could not be told apart."""


@dataclass(frozen=True)
class Picture:
    """Shows an image twice, as JPEG in data URIs."""

    name: str
    score: ImageScore
    truth: str
    found: str


def best_and_worst(scores: Sequence[ImageScore]) -> tuple[list[ImageScore], list[ImageScore]]:
    """Returns the images with the greatest and the least share of what is right among all objects
    and detections; of equal ones those that have more of them. None is in both.
    """
    most = min(SHOWN, len(scores) // 2) or len(scores)
    best = sorted(scores, key=lambda s: (-s.share, -s.right, s.id))[:most]
    others = [score for score in scores if score not in best]
    worst = sorted(others, key=lambda s: (s.share, -(s.wrong + s.missed), s.id))[:most]
    return best, worst


def pictures(
    evaluated: Evaluated, root: Path, scores: Sequence[ImageScore], least_score: float
) -> Iterator[Picture | str]:
    """Yields the pictures of images, or what is wrong with one.

    Args:
        root: the folder of the images.
        least_score: of the detections that are drawn.
    """
    wanted = {score.id for score in scores}
    kind = "segm" if "segm" in evaluated.results else "bbox"
    found_in: dict[int, Results] = {number: [] for number in wanted}
    for each in evaluated.results.get(kind, ()):
        if each["image_id"] in wanted and each["score"] >= least_score:
            found_in[each["image_id"]].append(each)
    colours = class_colours(evaluated.names)
    for score in scores:
        listed = evaluated.truth.imgs[score.id]
        name = str(listed["file_name"])
        size = (listed["width"], listed["height"])
        try:
            image = read_image(root / name, size=size)
        except (InputError, OSError) as error:
            yield str(error)
            continue
        found = sorted(found_in[score.id], key=lambda each: -each["score"])
        truth = [each for each in evaluated.objects_in(score.id) if not each.get("iscrowd")]
        halves = (_drawn(evaluated, image, objects[:DRAWN], colours) for objects in (truth, found))
        yield Picture(name, score, *map(data_uri, halves))


def data_uri(picture: NDArray[np.uint8]) -> str:
    """Returns a picture, (H, W, 3) in RGB, as JPEG that a page has in it."""
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()


def _drawn(
    evaluated: Evaluated, image: NDArray[np.uint8], objects: Results, colours: Sequence
) -> NDArray[np.uint8]:
    """Draws objects, of COCO's format, on an image, which fits into `WIDTH` and `HEIGHT`."""
    height, width = image.shape[:2]
    factor = min(1.0, WIDTH / width, HEIGHT / height)
    small = (max(1, round(factor * width)), max(1, round(factor * height)))
    if factor < 1:
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    place = {category: number for number, category in enumerate(evaluated.category_ids)}
    boxes = np.array([each["bbox"] for each in objects], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = None
    if objects and all(each.get("segmentation") for each in objects):
        whole = (_mask(each["segmentation"], height, width) for each in objects)
        sized = [cv2.resize(each, small, interpolation=cv2.INTER_NEAREST) for each in whole]
        masks = np.stack(sized).astype(bool)
    scores = [each["score"] for each in objects if "score" in each]
    detections = Detections(
        boxes=factor * boxes,
        labels=np.array([place[each["category_id"]] for each in objects], int),
        masks=masks,
        scores=np.array(scores) if len(scores) == len(objects) and scores else None,
    )
    return draw_detections(image, detections, evaluated.names, colours)


def _mask(segmentation: object, height: int, width: int) -> NDArray[np.uint8]:
    """Returns the mask, (H, W), of polygons or run lengths."""
    coded = segmentation
    if isinstance(segmentation, list):
        coded = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        coded = rle.frPyObjects(segmentation, height, width)
    return np.asarray(rle.decode(coded))
