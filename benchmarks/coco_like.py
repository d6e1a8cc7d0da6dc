"""Writes annotation files of COCO's size and kind, drawn at random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

IMAGES, ANNOTATIONS = 118_287, 860_001
"""COCO's instances_train2017.json has so many, in 448 MB."""

CATEGORIES = 80
CROWDS = 0.012  # of all annotations
POOL = 20_000  # different objects; each stands in many images
WIDTH, HEIGHT = 640, 480


def write_like_coco(path: Path, *, images: int = IMAGES, annotations: int = ANNOTATIONS) -> None:
    """Writes a file in COCO's format, with as much about an image and an object as COCO's has.

    Args:
        path: of the file.
        images: how many.
        annotations: how many; some images have none.
    """
    draw = np.random.default_rng(0)
    pool = [_object(draw, crowd=False) for _ in range(min(POOL, annotations))]
    crowds = [_object(draw, crowd=True) for _ in range(max(1, min(POOL, annotations) // 200))]
    of_image = np.sort(draw.integers(0, images, annotations)).tolist()
    category = draw.integers(1, CATEGORIES + 1, annotations).tolist()
    kind = draw.integers(0, len(pool), annotations).tolist()
    is_crowd = (draw.random(annotations) < CROWDS).tolist()
    names = [{"id": n, "name": f"thing {n}", "supercategory": "all"} for n in range(1, 81)]
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "drawn at random"}, "licenses": [], "images": [')
        file.write(", ".join(map(_image, range(images))))
        file.write('], "annotations": [')
        for number in range(annotations):
            own = crowds[kind[number] % len(crowds)] if is_crowd[number] else pool[kind[number]]
            file.write(
                f'{", " if number else ""}{{{own}, "image_id": {of_image[number] + 1}, '
                f'"category_id": {category[number]}, "id": {number + 1}}}'
            )
        file.write(f'], "categories": {json.dumps(names)}}}')


def _image(index: int) -> str:
    name = f"{index + 1:012d}.jpg"
    return (
        f'{{"license": 3, "file_name": "{name}", '
        f'"coco_url": "http://images.example/train2017/{name}", '
        f'"height": {HEIGHT}, "width": {WIDTH}, "date_captured": "2013-11-14 11:18:45", '
        f'"flickr_url": "http://farm9.example/8186/8119368305_4e622c8349_z.jpg", '
        f'"id": {index + 1}}}'
    )


def _object(draw: np.random.Generator, *, crowd: bool) -> str:
    """Returns segmentation, area, iscrowd and bbox of an object, as text."""
    size = float(np.exp(draw.normal(4.0, 0.9)).clip(8, 300))  # pixels; about half are below 55
    x, y = draw.uniform(0, WIDTH - size), draw.uniform(0, HEIGHT - size)
    if crowd:
        runs = draw.integers(1, 800, 1500)
        counts = runs[np.cumsum(runs) < WIDTH * HEIGHT].tolist()
        counts.append(WIDTH * HEIGHT - sum(counts))
        segmentation: object = {"counts": counts, "size": [HEIGHT, WIDTH]}
        area, box = sum(counts[1::2]), [0, 0, WIDTH, HEIGHT]
    else:
        parts = 1 + int(draw.geometric(0.88) - 1)
        outlines = [_outline(draw, x, y, size) for _ in range(parts)]
        points = np.concatenate(outlines)
        low, high = points.min(0), points.max(0)
        box = np.round([*low, *(high - low)], 2).tolist()
        area = round(float(0.7 * (high - low).prod()), 4)
        segmentation = [outline.ravel().tolist() for outline in outlines]
    text = json.dumps({"segmentation": segmentation, "area": area, "iscrowd": int(crowd)})
    return f'{text[1:-1]}, "bbox": {json.dumps(box)}'


def _outline(draw: np.random.Generator, x: float, y: float, size: float) -> np.ndarray:
    """Returns a polygon of about 19 points, as drawn by hand: more of them round large objects."""
    count = int(np.exp(draw.normal(2.75, 0.6)).clip(4, 250))
    angles = np.sort(draw.uniform(0, 2 * np.pi, count))
    radius = size / 2 * draw.uniform(0.6, 1.0, count)
    centre = np.array([x + size / 2, y + size / 2])
    return np.round(centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None], 2)
