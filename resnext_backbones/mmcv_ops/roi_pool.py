"""RoI pooling: over whole pixels (Girshick, 2015), and over moved bins (Dai et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from resnext_backbones.mmcv_ops.precision import gradients, widen
from resnext_backbones.mmcv_ops.sampling import Regions, bilinear, grid_of

__all__ = [
    "deform_roi_pool_backward",
    "deform_roi_pool_forward",
    "roi_pool_backward",
    "roi_pool_forward",
]


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fills in the largest value of each bin.

    mmcv does not round boxes to whole pixels, as torchvision's operator does: a bin has all pixels
    that it touches.

    Args:
        input: (N, C, H, W).
        rois: (R, 5), number of the image, x1, y1, x2, y2, the last pixels within.
        output: (R, C, pooled_height, pooled_width), filled; 0 of a bin without pixels.
        argmax: as `output`, whole numbers: the pixel of the value, y * W + x, and -1 for none.
        spatial_scale: of the feature map against the image.
    """
    features = widen(input)
    height, width = features.shape[-2:]
    rows, row_there = _pixels(rois[:, [2, 4]], pooled_height, height, spatial_scale)
    columns, column_there = _pixels(rois[:, [1, 3]], pooled_width, width, spatial_scale)
    output.zero_()
    argmax.fill_(-1)
    counts = (there.any(1).sum(1).tolist() for there in (row_there, column_there))
    for roi, (image, down, across) in enumerate(zip(rois[:, 0].tolist(), *counts, strict=True)):
        if not down or not across:
            continue
        y, x = rows[roi, :, None, :down, None], columns[roi, None, :, None, :across]
        there = row_there[roi, :, None, :down, None] & column_there[roi, None, :, None, :across]
        values = features[int(image)][:, y, x].masked_fill(~there, -torch.inf).flatten(3)
        best, point = values.max(3)  # the first of equal ones
        pixel = (y * width + x).flatten(2).expand(len(values), -1, -1, -1)
        filled = there.flatten(2).any(2)
        output[roi] = best.where(filled, 0).to(output)
        argmax[roi] = pixel.gather(3, point[..., None])[..., 0].where(filled, -1).to(argmax)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Hands the gradient of the output to the pixels that it came from, in `grad_input`."""
    channels, height, width = grad_input.shape[1:]
    image = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    pixel = image[:, :, None, None] * height * width + argmax.clamp(min=0)
    values = widen(grad_output) * (argmax >= 0)
    gradient = torch.zeros_like(grad_input, dtype=values.dtype).flatten()
    gradient.index_add_(0, pixel.flatten(), values.flatten())
    grad_input.copy_(gradient.view(grad_input.shape))


def _pixels(edges: Tensor, bins: int, count: int, scale: float) -> tuple[Tensor, Tensor]:
    """Returns the pixels of bins along one axis, (R, bins, most), and which of them are there.

    Args:
        edges: (R, 2), first and last pixel of a region in the image.
        count: pixels of the feature map.
    """
    start, end = widen(edges[:, 0]) * scale, (widen(edges[:, 1]) + 1) * scale
    each = ((end - start) / bins)[:, None]
    number = torch.arange(bins, device=edges.device)
    first = (number * each + start[:, None]).floor().clamp(0, count).long()
    last = ((number + 1) * each + start[:, None]).ceil().clamp(0, count).long()
    last = last.where(each > 0, first)
    most = max(int((last - first).max()), 1) if len(edges) else 1
    pixels = first[..., None] + torch.arange(most, device=edges.device)
    return pixels.clamp(max=count - 1), pixels < last[..., None]


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fills in the averages of bins that are moved.

    Args:
        input: (N, C, H, W).
        rois: (R, 5), number of the image, x1, y1, x2, y2 in the pixels of the image.
        offset: (R, 2, pooled_height, pooled_width), by how much each bin is moved, x and y, in
            widths and heights of the region times `gamma`; without elements, none is.
        output: (R, C, pooled_height, pooled_width), filled.
        spatial_scale, sampling_ratio: as of RoIAlign.
    """
    size, ratio = (pooled_height, pooled_width), sampling_ratio
    features, boxes = widen(input), widen(rois)
    output.zero_()
    for rows, pooled in _moved_bins(features, boxes, offset, size, spatial_scale, ratio, gamma):
        output[rows] = pooled.to(output)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fills in the gradients of the input and of the offsets; else as the forward pass."""
    size, ratio = (pooled_height, pooled_width), sampling_ratio
    upstream, boxes = widen(grad_output), widen(rois)
    with torch.enable_grad():
        inputs = tuple(widen(each.detach()).requires_grad_() for each in (input, offset))
        totals = [torch.zeros_like(each) for each in inputs]
        features, moved = inputs
        for rows, pooled in _moved_bins(features, boxes, moved, size, spatial_scale, ratio, gamma):
            for total, part in zip(totals, gradients(pooled, inputs, upstream[rows]), strict=True):
                total += part
    grad_input.copy_(totals[0])
    grad_offset.copy_(totals[1])


def _moved_bins(
    features: Tensor,
    boxes: Tensor,
    offset: Tensor,
    size: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields indices of regions, and their averages, (R, C, P, Q)."""
    regions = Regions.of(boxes, size, scale, sampling_ratio, shift=0.5)
    extent = regions.bin * regions.bin.new_tensor(size) * gamma
    for rows, alike, grid in regions.alike(features.shape[1] * size[0] * size[1]):
        y, x = grid_of(alike, size, grid)
        if offset.numel():
            moved = offset[rows].flip(1) * extent[rows, :, None, None]
            y, x = (
                at + by[..., None, None] for at, by in zip((y, x), moved.unbind(1), strict=True)
            )
        yield rows, bilinear(features, alike.image, y, x).mean((3, 4)).permute(0, 3, 1, 2)
