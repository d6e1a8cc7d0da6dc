"""Pictures show what a detector found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.hooks import Hook
from numpy.typing import NDArray

from resnext_backbones.data.pixels import read_image
from resnext_backbones.errors import InputError
from resnext_backbones.reports.drawing import Colour, Detections, class_colours, draw_detections
from resnext_backbones.tasks.mmdetection.images import fetched

GAP = 8
"""White pixels between the two halves of a picture."""

LEAST_SCORE = 0.5
"""Objects with less, as most of what a detector returns has, are not drawn."""

DRAWN_AS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Names of images whose pictures have the same; of others, `.png` behind theirs."""


class PicturesHook(Hook):
    """Writes a picture of each test image: ground truth on the left, what was found on the right.

    Args:
        folder: for the pictures, by the images' names from the folder that all images are in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def before_test(self, runner: Any) -> None:
        """Chooses the colours of the classes, and finds the folder that all images are in."""
        dataset = runner.test_dataloader.dataset
        self.classes = dataset.metainfo["classes"]
        self.colours = class_colours(self.classes, dataset.metainfo.get("palette"))
        # A process sees its share of the images alone, and names must differ between all of them.
        paths = (Path(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset)))
        # Without `..`, which Path.absolute keeps.
        self.root = os.path.commonpath({os.path.abspath(path.parent) for path in paths})  # noqa: PTH100

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,  # noqa: ARG002
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Writes the pictures of a batch."""
        for sample in outputs or ():
            check_found(sample, runner.cfg.model)
            name = os.path.relpath(sample.img_path, self.root)
            picture = picture_of(sample, self.classes, self.colours, truth=True)
            write_picture(picture, self.folder, name)


def check_found(sample: Any, model: Mapping[str, Any]) -> None:
    """Raises InputError where a model, of which this is the config, found no boxes but another kind
    of result.
    """
    if "pred_instances" not in sample:
        raise InputError(
            f"model {model['type']}: finds no boxes, which COCO's results and pictures are of"
        )


def picture_path(folder: Path, name: str) -> Path:
    """Returns the path in a folder of the picture of an image, which has the image's name."""
    path = folder / name
    return path if path.suffix.lower() in DRAWN_AS else path.with_name(f"{path.name}.png")


def write_picture(picture: NDArray[np.uint8], folder: Path, name: str) -> None:
    """Writes the picture, (H, W, 3) in RGB, of an image of this name; makes its folder."""
    mmcv.imwrite(picture[..., ::-1], str(picture_path(folder, name)))


def picture_of(
    sample: Any,
    classes: Sequence[str],
    colours: Sequence[Colour],
    *,
    least_score: float = LEAST_SCORE,
    truth: bool = False,
) -> NDArray[np.uint8]:
    """Returns the image with what was found in it, (H, W, 3) in RGB.

    Args:
        sample: MMDetection's `DetDataSample` with predictions; the image is read from its path.
        classes, colours: of each class; `class_colours` makes the colours.
        least_score: of what is drawn.
        truth: draw the sample's ground truth on the left, if its pipeline has loaded any.
    """
    height, width = sample.ori_shape[:2]
    image = read_image(fetched(sample.img_path), sample.img_path, size=(width, height))
    found = sample.pred_instances
    halves = {"": found[found.scores >= least_score]}
    if truth := truth and "bboxes" in sample.get("gt_instances", ()):
        title = f"found, score at least {least_score}"
        halves = {"ground truth": sample.gt_instances, title: halves[""]}
    drawn = [
        draw_detections(image, detections(objects), classes, colours, title=title)
        for title, objects in halves.items()
    ]
    gap = np.full((len(drawn[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([drawn[0], gap, drawn[1]], axis=1) if truth else drawn[0]


def detections(instances: Any) -> Detections:
    """Returns the objects of MMDetection's `InstanceData`, ground truth or found."""
    return Detections(
        boxes=_array(instances.bboxes),
        labels=_array(instances.labels),
        masks=_array(instances.masks).astype(bool) if "masks" in instances else None,
        scores=_array(instances.scores) if "scores" in instances else None,
    )


def _array(values: Any) -> np.ndarray:
    """Returns the values of a tensor, or of MMDetection's boxes or masks, as an array."""
    if hasattr(values, "to_ndarray"):
        return np.asarray(values.to_ndarray())
    return torch.as_tensor(getattr(values, "tensor", values)).detach().cpu().numpy()
