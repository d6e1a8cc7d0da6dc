"""What a network reaches: COCO's average precision, or how well classes of pixels overlap."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table
from torch import Tensor

from resnext_backbones.data.coco_table import COLUMNS
from resnext_backbones.tasks.torchvision.network import IGNORED

MASK_THRESHOLD = 0.5


def as_results(image_id: int, output: dict[str, Tensor], ids: Sequence[int]) -> list[dict]:
    """What was found in an image, in COCO's format of results.

    Args:
        output: of a detector; masks are (K, 1, H, W) in [0, 1].
        ids: COCO's category ids in the order of the labels.
    """
    boxes = output["boxes"].float().cpu()
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    found = [
        {"image_id": image_id, "category_id": ids[label - 1], "bbox": box, "score": score}
        for label, box, score in zip(
            output["labels"].tolist(), boxes.tolist(), output["scores"].tolist(), strict=True
        )
    ]
    for result, mask in zip(found, output.get("masks", ()), strict="masks" in output):
        pixels = (mask[0] > MASK_THRESHOLD).to(torch.uint8).cpu().numpy()
        code = rle.encode(np.asfortranarray(pixels))
        result["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}
    return found


def coco_scores(
    coco: COCO, results: list[dict], image_ids: Sequence[int], kinds: Sequence[str]
) -> dict[str, float]:
    """COCO's metrics by MMDetection's names, such as `coco/bbox_mAP_50`; -1 where there is nothing.

    Args:
        coco: the ground truth.
        results: of all images that were looked at.
        image_ids: these images.
        kinds: `bbox`, `segm`.
    """
    found: dict[str, float] = {}
    for kind in kinds:
        if results:
            with contextlib.redirect_stdout(io.StringIO()):
                # The boxes would be taken for the areas of masks.
                own = [
                    {k: v for k, v in r.items() if kind == "bbox" or k != "bbox"} for r in results
                ]
                loaded = coco.loadRes(own)
                evaluation = COCOeval(coco, loaded, kind)
                evaluation.params.imgIds = list(image_ids)
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            values = evaluation.stats[: len(COLUMNS)].tolist()
        else:
            values = [0.0] * len(COLUMNS)
        found |= {f"coco/{kind}_{name}": v for name, v in zip(COLUMNS, values, strict=True)}
    return found


def confusion(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """(C, C): pixels by their class and by the one that was found; those without class not."""
    known = target != IGNORED
    both = target[known] * num_classes + predicted[known]
    return torch.bincount(both, minlength=num_classes**2).reshape(num_classes, num_classes)


def pixel_scores(counts: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Mean intersection over union, over the classes that there are or that were found; the part of
    the pixels whose class was found, over all and as a mean over classes; and each class's IoU."""
    counts = counts.double()
    right, there, found = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = there + found - right
    iou = right / union
    return {
        "pixels": int(there.sum()),
        "mIoU": iou[union > 0].mean().item(),
        "pixel_accuracy": (right.sum() / there.sum()).item(),
        "mean_accuracy": (right / there)[there > 0].mean().item(),
        "IoU": {
            name: value for name, value, u in zip(classes, iou.tolist(), union, strict=True) if u
        },
    }


def pixel_table(scores: dict[str, Any]) -> str:
    """The numbers in percent."""
    table = Table("class", "IoU", title="Segmentation")
    for name, value in scores["IoU"].items():
        table.add_row(name, f"{100 * value:.1f}")
    table.add_section()
    for name in ("mIoU", "mean_accuracy", "pixel_accuracy"):
        table.add_row(name.replace("_", " "), f"{100 * scores[name]:.1f}")
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
