"""RoIAlign (He et al., ICCV 2017): torchvision's average, and the maximum, which it has not."""

from __future__ import annotations

import torch
from torch import Tensor

from resnext_backbones.mmcv_ops.precision import gradients, widen
from resnext_backbones.mmcv_ops.sampling import Regions, bilinear, grid_of

__all__ = ["roi_align_backward", "roi_align_forward"]

MAXIMUM, AVERAGE = 0, 1
"""mmcv's numbers for what is done with the points of a bin."""

NONE = -1.0
"""The best point of a bin without points."""


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills in the feature maps of regions.

    Args:
        input: (N, C, H, W), in any memory format.
        rois: (R, 5), number of the image, x1, y1, x2, y2 in the pixels of the image.
        output: (R, C, aligned_height, aligned_width), filled; of a bin without points it is 0.
        argmax_y, argmax_x: as `output`; where the maximum is taken filled with the number of the
            best point in its bin, down and across. mmcv's hold coordinates, which half precision
            rounds.
        spatial_scale: of the feature map against the image.
        sampling_ratio: points of a bin down and across; 0 takes one a pixel.
        pool_mode: 1 for the average of the points, 0 for the maximum.
        aligned: whether the middle of a pixel is a whole number.
    """
    size = aligned_height, aligned_width
    features, boxes = widen(input), _boxes(rois, input)
    if pool_mode == AVERAGE:
        pooled = torch.ops.torchvision.roi_align(
            features, boxes, spatial_scale, *size, sampling_ratio, aligned
        )
        output.copy_(pooled)
        return
    output.zero_()
    argmax_y.fill_(NONE)
    argmax_x.fill_(NONE)
    regions = _regions(boxes, size, spatial_scale, sampling_ratio, aligned)
    for rows, alike, grid in regions.alike(features.shape[1] * size[0] * size[1]):
        y, x = grid_of(alike, size, grid)
        values = bilinear(features, alike.image, y, x).flatten(3, 4)
        best, point = (each.permute(0, 3, 1, 2) for each in values.max(3))
        output[rows] = best.to(output)
        argmax_y[rows] = (point // grid[1]).to(argmax_y)
        argmax_x[rows] = (point % grid[1]).to(argmax_x)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills in the gradient of the input, `grad_input`, (N, C, H, W); else as the forward pass."""
    upstream, boxes = widen(grad_output), _boxes(rois, grad_output)
    size = aligned_height, aligned_width
    if pool_mode == AVERAGE and upstream.is_cuda and torch.are_deterministic_algorithms_enabled():
        regions = _regions(boxes, size, spatial_scale, sampling_ratio, aligned)
        grad_input.copy_(average_backward_in_order(upstream, regions, grad_input))
        return
    if pool_mode == AVERAGE:
        gradient = torch.ops.torchvision._roi_align_backward(
            upstream, boxes, spatial_scale, aligned_height, aligned_width,
            *grad_input.shape, sampling_ratio, aligned,
        )  # fmt: skip
        grad_input.copy_(gradient)
        return
    count, channels = grad_input.shape[:2]
    regions = _regions(boxes, size, spatial_scale, sampling_ratio, aligned)
    regions = regions._replace(grid=regions.grid.clamp(min=1))  # a bin without points has no place
    bins = torch.arange(size[0], device=boxes.device)[:, None]
    y = regions.coordinate(0, bins, widen(argmax_y))
    x = regions.coordinate(1, torch.arange(size[1], device=boxes.device), widen(argmax_x))
    # Each channel has a best point of its own, so each is an image of one channel.
    image = regions.image[:, None] * channels + torch.arange(channels, device=boxes.device)
    with torch.enable_grad():
        features = torch.zeros_like(grad_input, dtype=upstream.dtype).requires_grad_()
        single = features.reshape(count * channels, 1, *grad_input.shape[2:])
        values = bilinear(single, image.flatten(), y.flatten(0, 1), x.flatten(0, 1))[..., 0]
        upstream = upstream.where(argmax_y != NONE, 0).flatten(0, 1)
        grad_input.copy_(gradients(values, (features,), upstream)[0])


def average_backward_in_order(upstream: Tensor, regions: Regions, like: Tensor) -> Tensor:
    """Returns the gradient of the average's input, (N, C, H, W), as `like` is.

    torchvision's kernel adds up in whatever order a GPU's threads arrive; PyTorch's indexing sorts.

    Args:
        upstream: (R, C, P, Q), the gradient of the output.
    """
    size = upstream.shape[2], upstream.shape[3]
    gradient = torch.zeros_like(like, dtype=upstream.dtype)
    for rows, alike, grid in regions.alike(upstream.shape[1] * size[0] * size[1]):
        y, x = grid_of(alike, size, grid)
        with torch.enable_grad():
            features = torch.zeros_like(gradient).requires_grad_()
            average = bilinear(features, alike.image, y, x).mean((3, 4)).permute(0, 3, 1, 2)
            gradient += gradients(average, (features,), upstream[rows])[0]
    return gradient


def _regions(
    boxes: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> Regions:
    shift, least = (0.5, None) if aligned else (0.0, 1.0)
    return Regions.of(boxes, size, scale, sampling_ratio, shift=shift, least=least)


def _boxes(rois: Tensor, like: Tensor) -> Tensor:
    """Returns the boxes in the type of what they are cut from.

    Raises:
        ValueError: on a CPU, some are not finite; torchvision's operator would read anywhere.
    """
    boxes = widen(rois).to(widen(like).dtype)
    if boxes.device.type == "cpu" and not boxes.isfinite().all():
        raise ValueError("RoIAlign: some boxes are not finite, as after a loss that was not")
    return boxes
