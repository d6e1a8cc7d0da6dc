"""Overlaps of boxes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision import ops

from resnext_backbones.mmcv_ops.precision import widen

__all__ = ["bbox_overlaps", "box_iou_rotated"]

IOU, IOF = 0, 1
"""mmcv's numbers for what the intersection is divided by: the union, or the first box."""


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Fills in the overlaps of boxes.

    Args:
        bboxes1: (M, 4), x1, y1, x2, y2.
        bboxes2: (N, 4), with N = M where aligned.
        ious: (M, N), or (M,) where aligned; filled.
        mode: 0 for the IoU, 1 for the intersection over the first box.
        offset: 1 where x2 and y2 are the last pixels of a box, 0 where they are its edges.
    """
    first, second = widen(bboxes1), widen(bboxes2)
    if not aligned:
        first = first[:, None]
    corner = torch.minimum(first[..., 2:], second[..., 2:])
    extent = (corner - torch.maximum(first[..., :2], second[..., :2]) + offset).clamp(min=0)
    shared, area = extent.prod(-1), (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == IOU:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(-1) - shared
    ious.copy_(shared / area)


def rotated_ious(bboxes1: Tensor, bboxes2: Tensor) -> Tensor:
    """Returns the IoUs of rotated boxes, (M, N).

    Args:
        bboxes1: (M, 5), centre, width, height and angle in radians, clockwise in an image.
        bboxes2: (N, 5).
    """
    # torchvision counts degrees the other way round.
    scale = bboxes1.new_tensor([1, 1, 1, 1, -180 / math.pi], dtype=widen(bboxes1).dtype)
    return ops.box_iou(bboxes1 * scale, bboxes2 * scale, fmt="cxcywhr")


def box_iou_rotated(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool
) -> None:
    """Fills in the overlaps of rotated boxes.

    Args:
        bboxes1: (M, 5), as of `rotated_ious`.
        bboxes2: (N, 5), with N = M where aligned.
        ious: (M * N,), or (M,) where aligned; filled.
        mode_flag: as of `bbox_overlaps`.
    """
    first, second = widen(bboxes1), widen(bboxes2)
    if not ious.numel():
        return
    if aligned:
        pairs = zip(first[:, None], second[:, None], strict=True)
        overlaps = torch.stack([rotated_ious(*pair)[0, 0] for pair in pairs])
        areas, others = first[:, 2:4].prod(-1), second[:, 2:4].prod(-1)
    else:
        overlaps = rotated_ious(first, second)
        areas, others = first[:, 2:4].prod(-1)[:, None], second[:, 2:4].prod(-1)
    if mode_flag == IOF:
        overlaps = (overlaps * (areas + others) / (1 + overlaps) / areas).where(areas > 0, 0)
    ious.copy_(overlaps.flatten())
