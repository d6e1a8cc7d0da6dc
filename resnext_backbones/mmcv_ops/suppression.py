"""Non-maximum suppression: torchvision's, and what torchvision has not."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import ops

from resnext_backbones.mmcv_ops.boxes import rotated_ious
from resnext_backbones.mmcv_ops.precision import widen

__all__ = ["line_nms_forward", "nms", "nms_match", "nms_rotated", "softnms"]

NAIVE, LINEAR, GAUSSIAN = range(3)
"""mmcv's numbers for the methods of softnms."""

LANE_ROWS = 72
"""The rows of an image at which a lane has an x."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Returns the indices of the boxes that are kept, by falling score.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: a box goes if it overlaps a kept one by more.
        offset: 1 where x2 and y2 are the last pixels of a box, 0 where they are its edges.
    """
    corners = widen(boxes)
    if offset:
        corners = corners + corners.new_tensor([0, 0, offset, offset])
    # mmcv compares in the type of the boxes, torchvision in double precision.
    single = corners.dtype == torch.float32
    threshold = float(np.float32(iou_threshold)) if single else iou_threshold
    # torchvision keeps the order of equal scores, which mmcv leaves to this sort.
    order = scores.sort(descending=True).indices
    return order[ops.nms(corners[order], widen(scores)[order], threshold)]


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lowers the scores of boxes that overlap a better one (Bodla et al., ICCV 2017).

    The order of equal scores is that of mmcv, which swaps the best box to the front and fills the
    places of dropped ones from the end.

    Args:
        boxes: (N, 4); scores: (N,).
        dets: (N, 5), filled with the kept boxes and their scores.
        iou_threshold: overlap from which the naive and the linear method lower a score.
        sigma: of the Gaussian method.
        min_score: boxes with less are dropped.
        method: 0 naive, 1 linear, 2 Gaussian.
        offset: as of `nms`.

    Returns:
        The indices of the kept boxes, in the order of `dets`.
    """
    rows = torch.cat([widen(boxes), widen(scores)[:, None]], 1).numpy(force=True).copy()
    order = np.arange(len(rows))
    done, count = 0, len(rows)
    while done < count:
        best = done + int(rows[done:count, 4].argmax())
        rows[[done, best]] = rows[[best, done]]
        order[[done, best]] = order[[best, done]]
        rest = rows[done + 1 : count]
        overlap = _overlaps(rows[done], rest, offset)
        if method == GAUSSIAN:
            weight = np.exp(-(overlap * overlap) / np.float32(sigma))
        else:
            lower = 1 - overlap if method == LINEAR else np.zeros_like(overlap)
            weight = np.where(overlap >= np.float32(iou_threshold), lower, 1)
        rest[:, 4] *= weight
        kept = ~(rest[:, 4] < min_score)
        left = int(kept.sum())
        holes = np.flatnonzero(~kept[:left])
        last = left + np.flatnonzero(kept[left:])[::-1]
        rest[holes] = rest[last]
        order[done + 1 : count][holes] = order[done + 1 : count][last]
        done, count = done + 1, done + 1 + left
    dets[:count] = torch.from_numpy(rows[:count]).to(dets)
    return torch.from_numpy(order[:count]).to(boxes.device)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Returns groups of indices: a kept box, then those that it suppresses, by falling score.

    Args:
        dets: (N, 5), boxes with scores.
        iou_threshold: a box goes if it overlaps a kept one by this or more.
    """
    order = widen(dets)[:, 4].sort(descending=True).indices.numpy(force=True)
    rows = widen(dets).numpy(force=True)[order]
    groups = []
    left: NDArray = np.arange(len(rows))
    while len(left):
        first, others = left[0], left[1:]
        gone = _overlaps(rows[first], rows[others], 0) >= np.float32(iou_threshold)
        groups.append([int(order[i]) for i in (first, *others[gone])])
        left = others[~gone]
    return groups


def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """Returns the indices of the rotated boxes that are kept, by falling score.

    Args:
        dets: (N, 5), centre, width, height and angle in radians, or (N, 6) with a label, where
            `multi_label`. As in mmcv, labels change nothing: `batched_nms` moves them apart.
        order, dets_sorted: by falling score.
        iou_threshold: a box goes if it overlaps a kept one by more.
    """
    overlaps = rotated_ious(dets_sorted[:, :5], dets_sorted[:, :5])
    return order[_greedy(overlaps > iou_threshold)]


def line_nms_forward(
    lines: Tensor, scores: Tensor, threshold: float, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppresses lanes by their mean distance (Zheng et al., CLRNet, CVPR 2022).

    mmcv's kernel compares a lane that is sorted by its score with one that is not; where lanes do
    not come sorted it keeps others.

    Args:
        lines: (N, 77): two scores, start y from 0 to 1, start x, length, and x at 72 rows.
        scores: (N,).
        threshold: a lane goes if its mean distance to a kept one is less, in the units of x.
        top_k: at most so many are kept.

    Returns:
        The indices of the kept lanes, padded with zeros to N; how many there are; and for each lane
        the number of the kept one that it belongs to, from 1, or 0.
    """
    order = scores.sort(descending=True).indices
    close = _close_lanes(widen(lines)[order], threshold)
    kept = _greedy(close)[:top_k]
    belongs_to = torch.zeros_like(order)
    for number, row in enumerate(kept, 1):
        belongs_to[order[close[row].to(order.device)]] = number
        belongs_to[order[row]] = number
    padded = torch.zeros_like(order)
    padded[: len(kept)] = order[kept]
    return padded, order.new_tensor(len(kept)), belongs_to


def _close_lanes(lines: Tensor, threshold: float) -> Tensor:
    """Returns whether two lanes share rows and are near one another on them: (N, N), on the CPU."""
    lines = lines.cpu()
    start = (lines[:, 2] * (LANE_ROWS - 1) + 0.5).trunc()
    end = start + lines[:, 4].trunc() - 1
    first = torch.maximum(start[:, None], start)
    last = torch.minimum(end[:, None], end).clamp(max=LANE_ROWS - 1)
    rows = torch.arange(LANE_ROWS)
    shared = (rows >= first[..., None]) & (rows <= last[..., None])
    x = lines[:, 5:]
    distance = ((x[:, None] - x).abs() * shared).sum(-1)
    return (distance < threshold * (last - first + 1)) & (first >= 0) & (last >= first)


def _greedy(suppresses: Tensor) -> list[int]:
    """Returns the rows that are kept, the better first.

    Args:
        suppresses: (N, N), whether a row suppresses a column, by falling score.
    """
    table = suppresses.numpy(force=True)
    gone = np.zeros(len(table), dtype=bool)
    kept = []
    for row in range(len(table)):
        if not gone[row]:
            kept.append(row)
            gone |= table[row]
    return kept


def _overlaps(box: NDArray, boxes: NDArray, offset: int) -> NDArray:
    """Returns the IoUs of one box, (4,), and many, (N, 4), in mmcv's order of operations."""
    corner = np.minimum(box[2:4], boxes[:, 2:4]) - np.maximum(box[:2], boxes[:, :2])
    width, height = np.maximum(corner + offset, 0).T
    shared = width * height
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area
        return shared / ((box[2] - box[0] + offset) * (box[3] - box[1] + offset) + areas - shared)
