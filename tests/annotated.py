"""A small valid file of annotations, and detections that are its objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 96, 72
CLASSES = ("circle", "square", "star")


def content(images: int = 3) -> dict[str, Any]:
    """Two objects an image, as polygons, run lengths and a crowd; ids are not places in lists."""
    found: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
    found["categories"] = [
        {"id": 3 + 2 * k, "name": name, "supercategory": "shape"} for k, name in enumerate(CLASSES)
    ]
    for number in range(images):
        image_id = 10 + 3 * number
        name = f"{number:03d}.jpg"
        found["images"].append(
            {"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT}
        )
        for k in range(2):
            x, y, w, h = 5 + 40 * k, 4 + number, 20 + number, 30 - k
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            mask: Any = [corners] if k == 0 else run_lengths(x, y, w, h)
            found["annotations"].append(
                {
                    "id": 1 + len(found["annotations"]), "image_id": image_id,
                    "category_id": 3 + 2 * ((number + k) % len(CLASSES)), "iscrowd": 0,
                    "bbox": [x, y, w, h], "area": w * h, "segmentation": mask,
                }
            )  # fmt: skip
    found["annotations"][-1]["iscrowd"] = 1
    return found


def run_lengths(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    """A rectangle, column by column."""
    counts = [x * HEIGHT + y, h]
    for _ in range(w - 1):
        counts += [HEIGHT - h, h]
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, WIDTH * HEIGHT - sum(counts)]}


def write(folder: Path, found: Any, name: str = "annotations.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(found))
    return path


def perfect(coco: Any) -> list[dict[str, Any]]:
    """COCO's results of all that is to be found, by a file's index."""
    return [
        {
            "image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9,
            "bbox": list(a["bbox"]),
            **({"segmentation": coco.annToRLE(a)} if a.get("segmentation") else {}),
        }
        for a in coco.dataset["annotations"]
        if not a["iscrowd"]
    ]  # fmt: skip


def measured(
    metric: Any, classes: Sequence[str], images: Iterable[dict[str, Any]], only: str = ""
) -> Any:
    """Returns what MMDetection's metric says of detections that are its own ground truth, or that
    of one class, of these images: their `id`, `height` and `width`.
    """
    import torch

    coco = metric._coco_api
    metric.dataset_meta = {"classes": classes}
    label = {c["id"]: list(classes).index(c["name"]) for c in coco.dataset["categories"]}
    found, images = perfect(coco), list(images)
    if only:
        found = [each for each in found if label[each["category_id"]] == list(classes).index(only)]
    for image in images:
        own = [each for each in found if each["image_id"] == image["id"]]
        boxes = torch.tensor([each["bbox"] for each in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances: dict[str, Any] = {
            "bboxes": boxes, "scores": torch.full((len(own),), 0.9),
            "labels": torch.tensor([label[each["category_id"]] for each in own]).long(),
        }  # fmt: skip
        if "segm" in metric.metrics:
            instances["masks"] = [each["segmentation"] for each in own]
        sample = {"img_id": image["id"], "ori_shape": (image["height"], image["width"])}
        metric.process({}, [{**sample, "pred_instances": instances}])
    return metric.evaluate(len(images))


def names_of(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The objects of a content with the names of their categories, in any order."""
    names = {category["id"]: category["name"] for category in found["categories"]}
    return sorted(
        (a["image_id"], names[a["category_id"]], *a["bbox"]) for a in found["annotations"]
    )


Rows = Sequence[dict[str, Any]]
