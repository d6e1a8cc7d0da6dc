"""Metrics count COCO's average precision, and how well classes of pixels overlap."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import BaseMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Table
from torch import Tensor

from resnext_backbones.adapters.registry import METRICS
from resnext_backbones.data.coco_results import to_results
from resnext_backbones.data.coco_table import COLUMNS, as_text
from resnext_backbones.data.rules import Use
from resnext_backbones.engine.fit import log_warning
from resnext_backbones.engine.record import harmless
from resnext_backbones.io import atomic_write_text, json_text
from resnext_backbones.tasks.torchvision.instances import read_index
from resnext_backbones.tasks.torchvision.pixels import IGNORED

FOUND = "detections.json"
"""This file of the work directory has what a detector found, as COCO's server takes it."""

MASK_THRESHOLD = 0.5

Results = list[dict[str, Any]]
"""Detections in COCO's format of results."""


@METRICS.register_module()
class CocoAP(BaseMetric):
    """Counts COCO's average precision of boxes and masks, by MMDetection's names.

    Args:
        ann_file: the ground truth, in COCO's format.
        kinds: `bbox`, `segm`.
        out: a file that gets what was found, as COCO's server takes it; None writes none.
    """

    default_prefix = "coco"
    keep_in: Path | None = None
    """What is found is kept in this folder where `out` is None."""
    kept: Mapping[str, Any] | None = None

    def __init__(
        self, ann_file: str, kinds: Sequence[str] = ("bbox",), out: str | None = None
    ) -> None:
        super().__init__()
        self.kinds, self.out, self.ann_file = tuple(kinds), out, ann_file
        use = Use(evaluate=True, masks="segm" in kinds)
        self.truth = read_index(Path(ann_file), use)  # also to refuse it before the first step

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:  # noqa: ARG002
        """Keeps what was found in each image."""
        assert self.dataset_meta is not None
        ids = self.dataset_meta["category_ids"]
        for sample in data_samples:
            found = {**sample, "labels": sample["labels"] - 1}  # 0 is the background
            if "masks" in sample:
                found["masks"] = sample["masks"][:, 0] > MASK_THRESHOLD
            self.results.append((sample["image_id"], to_results(found, sample["image_id"], ids)))

    def compute_metrics(self, results: list[tuple[int, Results]]) -> dict[str, float]:
        """Counts on the images that were looked at."""
        found = [each for _, every in results for each in every]
        if self.out is not None:
            atomic_write_text(Path(self.out), json_text(found))
        image_ids = [image_id for image_id, _ in results]
        if self.keep_in is not None:
            with harmless(log_warning, FOUND):
                file = Path(self.out or self.keep_in / FOUND).absolute()
                if self.out is None:
                    atomic_write_text(file, json_text(found))
                files = dict.fromkeys(self.kinds, str(file))
                self.kept = {"annotations": self.ann_file, "results": files, "image_ids": image_ids}
        return coco_scores(self.truth, found, image_ids, self.kinds)


def coco_scores(
    coco: COCO, results: Results, image_ids: Sequence[int], kinds: Sequence[str]
) -> dict[str, float]:
    """Returns COCO's metrics by MMDetection's names, such as `bbox_mAP_50`, on the images that were
    looked at, `image_ids`; -1 where there is nothing to be found.
    """
    scores: dict[str, float] = {}
    for kind in kinds:
        values = [0.0] * len(COLUMNS)
        if results:
            with contextlib.redirect_stdout(io.StringIO()):
                # The boxes would be taken for the areas of masks.
                left_out = {"segm": "bbox"}.get(kind)
                own = [{k: v for k, v in each.items() if k != left_out} for each in results]
                evaluation = COCOeval(coco, coco.loadRes(own), kind)
                evaluation.params.imgIds = list(image_ids)
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
            values = evaluation.stats[: len(COLUMNS)].tolist()
        scores |= {f"{kind}_{name}": v for name, v in zip(COLUMNS, values, strict=True)}
    return scores


@METRICS.register_module()
class PixelOverlap(BaseMetric):
    """Counts intersection over union, at the size of the masks, and how many pixels are right.

    Each process counts its images, of which a sampler must give none twice: `round_up=False`.
    """

    default_prefix = "segmentation"
    counts: Tensor | int = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Tensor]]) -> None:  # noqa: ARG002
        """Counts the pixels of each image, (C, C), by their class and by the one that was found."""
        number = self._number
        for sample in data_samples:
            known = sample["mask"] != IGNORED
            both = sample["mask"][known] * number + sample["found"][known]
            counts = torch.bincount(both, minlength=number**2)
            self.counts = self.counts + counts.reshape(number, number).cpu()

    @property
    def _number(self) -> int:
        assert self.dataset_meta is not None
        return len(self.dataset_meta["classes"])

    def evaluate(self, size: int) -> dict[str, float]:  # noqa: ARG002
        """Adds up what all processes counted, also those without an image."""
        counts = torch.zeros(self._number, self._number, dtype=torch.int64) + self.counts
        all_reduce(counts)
        self.counts = 0
        scores = self.compute_metrics(counts)
        return {f"{self.prefix}/{name}": value for name, value in scores.items()}

    def compute_metrics(self, results: Any) -> dict[str, float]:
        """Returns `pixel_scores`."""
        assert self.dataset_meta is not None
        return pixel_scores(results, self.dataset_meta["classes"])


def pixel_scores(counts: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Returns the mean intersection over union, over the classes that there are or that were found;
    the part of the pixels whose class was found, over all and as a mean over classes; each class's
    IoU; and the number of pixels.
    """
    counts = counts.double()
    right, there, found = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = there + found - right
    iou = right / union
    each = zip(classes, iou.tolist(), union, strict=True)
    return {
        "mIoU": iou[union > 0].mean().item(),
        "mean_accuracy": (right / there)[there > 0].mean().item(),
        "pixel_accuracy": (right.sum() / there.sum()).item(),
        "pixels": int(there.sum()),
        **{f"IoU/{name}": value for name, value, u in each if u},
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
    return as_text(table)
