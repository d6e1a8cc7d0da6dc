"""torchvision's detectors are traced with these in the place of three of its functions.

What torchvision itself has for tracing computes something else than it does in PyTorch: it finds
the size of the scaled image in float32 and not in float64, so one size in ten is off by a pixel; it
moves the classes apart by adding to coordinates, which rounds them, and suppresses other boxes than
class by class; and its loop over masks copies all earlier ones for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection import transform
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks
from torchvision.ops import boxes as box_ops

ABSENT = -1.0
"""Below every score: a box is of no other class than its own."""

FEW = 1000
"""Of so many boxes at most torchvision moves classes apart, which rounds coordinates."""

UNLIMITED = 2**63 - 1


@contextmanager
def traceable(groups: int) -> Iterator[None]:
    """Has torchvision's detectors call what can be traced, and computes what they do in PyTorch.

    Args:
        groups: no box has a class, or comes from a level, of this number or above.
    """
    changed = (
        (transform, "_resize_image_and_masks", resize),
        (transform, "paste_masks_in_image", paste_masks),
        (box_ops, "batched_nms", partial(suppress, groups=groups)),
    )
    with ExitStack() as stack:
        for module, name, function in changed:
            stack.enter_context(patch.object(module, name, function))
        yield


def resize(image: Tensor, shorter: int, longer: int, *unused: Any) -> tuple[Tensor, None]:
    """Returns an image (C, H, W) scaled until its shorter side has so many pixels, or the longer
    one as many as it may; sides are rounded down, from float64 as in PyTorch.
    """
    if any(value is not None for value in unused):
        raise ValueError("images with targets, or of a fixed size, are not traced")
    sides = shape_as_tensor(image)[-2:].to(torch.float64)
    most = torch.tensor([shorter, longer], dtype=torch.float64)
    scale = (most / torch.stack([sides.min(), sides.max()])).min()
    height, width = torch.floor(sides * scale).to(torch.int64)
    return interpolate(image[None], (height, width), mode="bilinear", align_corners=False)[0], None


class _Suppression(torch.autograd.Function):
    """Is ONNX's NonMaxSuppression: takes boxes (1, K, 4) and scores (1, groups, K), and returns a
    row (0, group, box) for each that is kept.
    """

    @staticmethod
    def forward(_: Any, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        best, group = scores[0].max(dim=0)
        kept = box_ops._batched_nms_vanilla(boxes[0], best, group, threshold)
        return torch.stack([torch.zeros_like(kept), group[kept], kept], dim=1)

    @staticmethod
    def symbolic(graph: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        limits = torch.tensor([UNLIMITED]), torch.tensor([threshold]), torch.tensor([ABSENT / 2])
        held = [graph.op("Constant", value_t=limit) for limit in limits]
        return graph.op("NonMaxSuppression", boxes, scores, *held)


def suppress(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, *, groups: int
) -> Tensor:
    """Returns the indices of the boxes (K, 4) that no better one of the same group overlaps by more
    than a threshold, the best first.

    Args:
        scores, idxs: (K,) each; the score is 0 or above, and the group below `groups`.
    """
    few = (shape_as_tensor(boxes)[0] <= FEW).to(boxes.dtype)
    last = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()  # there may be no box
    apart = few * idxs.to(boxes.dtype) * (last + 1)
    boxes = boxes + apart[:, None]
    own = torch.arange(groups)[:, None] == idxs
    each = torch.where(own, scores, torch.full_like(scores, ABSENT))
    kept = _Suppression.apply(boxes[None], each[None], iou_threshold)[:, 2]
    return kept[scores[kept].sort(descending=True)[1]]


def paste_masks(masks: Tensor, boxes: Tensor, size: Sequence[Any], padding: int = 1) -> Tensor:
    """Returns masks (N, 1, M, M) in their boxes (N, 4) of an image: (N, 1, H, W), 0 outside.

    Scaling a mask is linear in its rows and in its columns, so all are pasted by two products.
    """
    masks, scale = expand_masks(masks, padding=padding)
    corners = expand_boxes(boxes, scale).to(torch.int64)
    places = masks.shape[-1]
    rows = _shares(corners[:, 1], corners[:, 3], size[0], places)
    columns = _shares(corners[:, 0], corners[:, 2], size[1], places)
    return (rows @ masks[:, 0] @ columns.transpose(1, 2))[:, None]


def _shares(first: Tensor, last: Tensor, length: Any, places: int) -> Tensor:
    """Returns what share each of a mask's places has in each pixel of an image's side, (N, length,
    places), by bilinear interpolation from the pixel `first` to `last`.
    """
    pixels = torch.arange(length)[None] - first[:, None]
    extent = (last - first + 1).clamp(min=1)[:, None]
    at = ((pixels + 0.5) * (places / extent) - 0.5).clamp(0, places - 1)
    near = (1 - (at[..., None] - torch.arange(places)).abs()).clamp(min=0)
    inside = (pixels >= 0) & (pixels < extent)
    return near * inside[..., None]
