"""A picture of each image that a detector is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import mmengine.fileio
import numpy as np
import torch
from mmengine.hooks import Hook

from resnext_backbones.detection.drawing import Detections, class_colours, draw_detections

GAP = 8
"""White pixels between the two halves of a picture."""

LEAST_SCORE = 0.3
"""Of what is drawn; most of what a detector returns is below it."""


class PicturesHook(Hook):
    """Writes a picture of each test image: ground truth on the left, what was found on the right.

    Args:
        folder: for the pictures, which have the images' names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def before_test(self, runner: Any) -> None:
        """Make the folder, and choose the colours of the classes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        metainfo = runner.test_dataloader.dataset.metainfo
        self.classes = metainfo["classes"]
        self.colours = class_colours(self.classes, metainfo.get("palette"))
        self.written: set[str] = set()

    def after_test_iter(
        self,
        runner: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,  # noqa: ARG002
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Write the pictures of a batch."""
        for sample in outputs or ():
            path = Path(sample.img_path)
            name = path.name
            if name in self.written:  # data sets may have folders with images of equal names
                name = f"{path.stem}_{sample.img_id}{path.suffix}"
            self.written.add(name)
            content = mmengine.fileio.get(sample.img_path)
            image = mmcv.imfrombytes(content, channel_order="rgb")
            mmcv.imwrite(self._picture(image, sample)[..., ::-1], str(self.folder / name))

    def _picture(self, image: np.ndarray, sample: Any) -> np.ndarray:
        found = sample.pred_instances
        halves = {
            "ground truth": detections(sample.gt_instances),
            f"found, score at least {LEAST_SCORE}": detections(found[found.scores >= LEAST_SCORE]),
        }
        left, right = (
            draw_detections(image, objects, self.classes, self.colours, title=title)
            for title, objects in halves.items()
        )
        gap = np.full((len(left), GAP, 3), 255, np.uint8)
        return np.concatenate([left, gap, right], axis=1)


def detections(instances: Any) -> Detections:
    """Returns the objects of MMDetection's InstanceData, ground truth or found."""
    return Detections(
        boxes=_array(instances.bboxes),
        labels=_array(instances.labels),
        masks=_array(instances.masks).astype(bool) if "masks" in instances else None,
        scores=_array(instances.scores) if "scores" in instances else None,
    )


def _array(values: Any) -> np.ndarray:
    """Returns a tensor's values, a box structure's or a mask structure's."""
    if hasattr(values, "to_ndarray"):
        return np.asarray(values.to_ndarray())
    values = getattr(values, "tensor", values)
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
