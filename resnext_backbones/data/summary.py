"""What a file of annotations holds, in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnext_backbones.data.columns import Columns
from resnext_backbones.data.rules.lists import plain_name

SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels where COCO's small objects end, and its medium ones."""

PARTS = (1, 50, 99)
"""Percent: so many objects are narrower for their height than each of the numbers given."""


def summarise(columns: Columns) -> dict[str, Any]:
    """Returns plain numbers: of images, their sides and objects, and how many 99% of them have at
    most; of objects, their sizes and aspect ratios (width over height); of categories, how many
    objects each has. Boxes and sizes that are none are not among them.
    """
    in_images, objects = (
        np.bincount(place[place >= 0], minlength=len(columns.of(kind)))
        for kind, place in columns.place_of.items()
    )
    names = (
        plain_name(name) if type(name) is str else str(name)
        for name in columns.values("category", "name")
    )
    sides = columns.boxes[(columns.boxes[:, 2:] > 0).all(1), 2:]
    with np.errstate(over="ignore", under="ignore"):
        ratios = sides[:, 0] / sides[:, 1]
        products = columns.boxes[:, 2:].prod(1)
    ratios = ratios[np.isfinite(ratios)]
    most = np.percentile(in_images, 99) if len(in_images) else 0
    areas = np.where(columns.areas > 0, columns.areas, products)
    return {
        "images": len(columns.images),
        "annotations": len(columns.annotations),
        "crowds": int(columns.crowds.sum()),
        "images_without_objects": int((in_images == 0).sum()),
        "objects_in_an_image": _spread(in_images),
        "objects_in_99_percent": int(np.ceil(most)),
        "width": _spread(columns.sizes[:, 1]),
        "height": _spread(columns.sizes[:, 0]),
        "objects": {
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
            "large": int((areas >= MEDIUM).sum()),
        },
        "aspect": [round(float(v), 2) for v in np.percentile(ratios, PARTS)] if len(ratios) else [],
        "categories": [list(pair) for pair in zip(names, objects.tolist(), strict=True)],
    }


def _spread(values: np.ndarray) -> list[float]:
    """Returns the least, the median and the greatest, of those that are numbers."""
    values = values[np.isfinite(values)]
    found = (values.min(), np.median(values), values.max()) if len(values) else ()
    return [round(float(value), 1) for value in found]
