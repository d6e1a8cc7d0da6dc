"""What a network reaches: COCO's average precision, or how well classes of pixels overlap."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import BaseMetric
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table
from torch import Tensor

from resnext_backbones.adapters.registry import METRICS
from resnext_backbones.data.coco_table import COLUMNS
from resnext_backbones.io import atomic_write_text
from resnext_backbones.tasks.torchvision.instances import read_index
from resnext_backbones.tasks.torchvision.pixels import IGNORED

MASK_THRESHOLD = 0.5

Results = list[dict[str, Any]]
"""In COCO's format of results."""


@METRICS.register_module()
class CocoAP(BaseMetric):
    """Counts COCO's average precision of boxes and masks, by MMDetection's names.

    Args:
        ann_file: the ground truth, in COCO's format.
        kinds: `bbox`, `segm`.
        out: a file that gets what was found, as COCO's server takes it; None writes none.
    """

    default_prefix = "coco"

    def __init__(
        self, ann_file: str, kinds: Sequence[str] = ("bbox",), out: str | None = None
    ) -> None:
        super().__init__()
        self.ann_file, self.kinds, self.out = Path(ann_file), tuple(kinds), out

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:  # noqa: ARG002
        """Keeps what was found in each image."""
        assert self.dataset_meta is not None
        ids = self.dataset_meta["category_ids"]
        for sample in data_samples:
            image_id = sample["image_id"]
            self.results.append((image_id, as_results(image_id, sample, ids)))

    def compute_metrics(self, results: list[tuple[int, Results]]) -> dict[str, float]:
        """Counts on the images that were looked at."""
        found = [each for _, every in results for each in every]
        if self.out is not None:
            atomic_write_text(Path(self.out), json.dumps(found) + "\n")
        image_ids = [image_id for image_id, _ in results]
        return coco_scores(read_index(self.ann_file), found, image_ids, self.kinds)


def as_results(image_id: int, output: Mapping[str, Tensor], ids: Sequence[int]) -> Results:
    """Returns what was found in an image.

    Args:
        output: of a detector; masks are (K, 1, H, W) in [0, 1].
        ids: COCO's category ids in the order of the labels.
    """
    boxes = output["boxes"].float().cpu()
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    found: Results = [
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
    coco: COCO, results: Results, image_ids: Sequence[int], kinds: Sequence[str]
) -> dict[str, float]:
    """Returns COCO's metrics by MMDetection's names, such as `bbox_mAP_50`.

    A metric is -1 where there is nothing to be found.

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
        found |= {f"{kind}_{name}": v for name, v in zip(COLUMNS, values, strict=True)}
    return found


@METRICS.register_module()
class PixelOverlap(BaseMetric):
    """Counts intersection over union, at the size of the masks, and how many pixels are right.

    Each process counts its images, of which a sampler must give none twice: `round_up=False`.
    """

    default_prefix = "segmentation"
    counts: Tensor | int = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Tensor]]) -> None:  # noqa: ARG002
        """Counts the pixels of each image."""
        for sample in data_samples:
            self.counts = self.counts + confusion(sample["found"], sample["mask"], self._number)

    @property
    def _number(self) -> int:
        assert self.dataset_meta is not None
        return len(self.dataset_meta["classes"])

    def evaluate(self, size: int) -> dict[str, float]:  # noqa: ARG002
        """Adds up what all processes counted."""
        # A process without an image still takes part.
        counts = torch.zeros(self._number, self._number, dtype=torch.int64) + self.counts
        all_reduce(counts)
        self.counts = 0
        scores = self.compute_metrics(counts)
        return {f"{self.prefix}/{name}": value for name, value in scores.items()}

    def compute_metrics(self, results: Any) -> dict[str, float]:
        """Returns `pixel_scores`."""
        assert self.dataset_meta is not None
        return pixel_scores(results, self.dataset_meta["classes"])


def confusion(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Returns (C, C) on the CPU: pixels by their class and by the one that was found; those without
    a class do not count.
    """
    known = target != IGNORED
    both = target[known] * num_classes + predicted[known]
    counts = torch.bincount(both, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu()


def pixel_scores(counts: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Returns the mean intersection over union, over the classes that there are or that were found;
    the part of the pixels whose class was found, over all and as a mean over classes; each class's
    IoU; and the number of pixels.
    """
    counts = counts.double()
    right, there, found = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = there + found - right
    iou = right / union
    return {
        "mIoU": iou[union > 0].mean().item(),
        "mean_accuracy": (right / there)[there > 0].mean().item(),
        "pixel_accuracy": (right.sum() / there.sum()).item(),
        "pixels": int(there.sum()),
        **{
            f"IoU/{name}": value
            for name, value, u in zip(classes, iou.tolist(), union, strict=True)
            if u
        },
    }


def pixel_table(metrics: Mapping[str, Any]) -> str:
    """Returns the numbers of `PixelOverlap` in percent."""
    table = Table("class", "IoU", title="Segmentation")
    head = "segmentation/IoU/"
    for name, value in metrics.items():
        if name.startswith(head):
            table.add_row(name.removeprefix(head), f"{100 * value:.1f}")
    table.add_section()
    for name in ("mIoU", "mean_accuracy", "pixel_accuracy"):
        table.add_row(name.replace("_", " "), f"{100 * metrics[f'segmentation/{name}']:.1f}")
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
