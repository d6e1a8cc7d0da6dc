"""A batch as a config's data set would give it, of a size and a number of boxes that are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from resnext_backbones.engine.plan.answers import limit
from resnext_backbones.engine.walk import dicts_with, value_at
from resnext_backbones.tasks.engines import MMDETECTION, OWN_MODELS, PRETRAINING, TORCHVISION

SMALLEST = 16
"""Pixels of a side of a box, at least."""


def batch_of(cfg: Any, images: int, size: tuple[int, int], boxes: int) -> Callable[[], Any]:
    """Returns what makes a batch for a config's network, of random values where they are real.

    Args:
        images: in it.
        size: (H, W) of each.
        boxes: of each, where the network is a detector.
    """
    engine = OWN_MODELS.get(str(cfg.model.type), MMDETECTION)
    make = {
        MMDETECTION: _of_mmdetection,
        TORCHVISION: _of_torchvision,
        PRETRAINING: _of_classifier,
    }[engine]
    return lambda: make(cfg, images, size, boxes)


def pin(model: nn.Module) -> None:
    """Has torchvision's detectors take images as they come, and says how many of the regions that
    they draw hold an object at most; MMDetection's samplers say it themselves.
    """
    for module in model.modules():
        if isinstance(module, GeneralizedRCNNTransform):
            module._skip_resize = True
        elif isinstance(module, RoIHeads):
            module.select_training_samples = _limited(module)


def _limited(heads: RoIHeads) -> Callable[..., Any]:
    own, sampler = heads.select_training_samples, heads.fg_bg_sampler
    most = int(sampler.batch_size_per_image * sampler.positive_fraction)

    def select(*args: Any) -> Any:
        proposals, matched, labels, targets = own(*args)
        for each in labels:
            limit(each, most)
        return proposals, matched, labels, targets

    return select


def _of_mmdetection(cfg: Any, images: int, size: tuple[int, int], boxes: int) -> dict[str, Any]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData

    loads = list(dicts_with(cfg.get("train_dataloader"), lambda d: "LoadAnn" in str(d.get("type"))))
    classes = _classes(cfg)
    samples = []
    for _ in range(images):
        instances = InstanceData()
        instances.bboxes = HorizontalBoxes(_boxes(boxes, size))
        instances.labels = torch.randint(classes, (boxes,))
        if any(load.get("with_mask") for load in loads):
            instances.masks = BitmapMasks(np.ones((boxes, *size), np.uint8), *size)
        sample = DetDataSample(gt_instances=instances)
        sample.ignored_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
        )
        if any(load.get("with_seg") for load in loads):
            sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, *size, dtype=torch.uint8))
        sample.set_metainfo(
            {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0), "flip": False}
        )
        samples.append(sample)
    return {"inputs": [_pixels(cfg, size) for _ in range(images)], "data_samples": samples}


def _of_torchvision(cfg: Any, images: int, size: tuple[int, int], boxes: int) -> dict[str, Any]:
    inputs = [_pixels(cfg, size) for _ in range(images)]
    if cfg.model.type != "resnext_backbones.TorchvisionDetector":
        masks = (torch.zeros(size, dtype=torch.long) for _ in range(images))
        return {"inputs": inputs, "targets": [{"mask": mask} for mask in masks]}
    targets = []
    for i in range(images):
        target: dict[str, Any] = {"image_id": i, "boxes": _boxes(boxes, size)}
        target["labels"] = torch.randint(1, _classes(cfg) + 1, (boxes,))
        if value_at(cfg, "train_dataloader.dataset.masks"):
            target["masks"] = torch.ones(boxes, *size, dtype=torch.uint8)
        targets.append(target)
    return {"inputs": inputs, "targets": targets}


def _of_classifier(cfg: Any, images: int, size: tuple[int, int], boxes: int) -> dict[str, Any]:
    del boxes
    inputs = torch.stack([_pixels(cfg, size) for _ in range(images)])
    return {"inputs": inputs, "labels": torch.randint(cfg.model.num_classes, (images,))}


def _pixels(cfg: Any, size: tuple[int, int]) -> Tensor:
    mean = value_at(cfg, "model.data_preprocessor.mean") or (0, 0, 0)
    return torch.randint(256, (len(mean), *size), dtype=torch.uint8)


def _boxes(number: int, size: tuple[int, int]) -> Tensor:
    """Returns boxes (N, 4) as corners, of all sizes."""
    height, width = size
    sides = torch.tensor([width, height])
    share = torch.rand(number, 2) * 0.5 + 0.02
    extent = (share * sides).clamp(min=SMALLEST)
    corner = torch.rand(number, 2) * (sides - extent)
    return torch.cat([corner, corner + extent], 1)


def _classes(cfg: Any) -> int:
    """Returns the number of classes of the first head that says it."""
    found = dicts_with(cfg.model, lambda d: isinstance(d.get("num_classes"), int))
    return next((d["num_classes"] for d in found), 1)
