"""What mmcv's operators are, in loops over single numbers, as their papers and mmcv define them."""

from __future__ import annotations

import math
from itertools import pairwise, product

import torch
from torch import Tensor


def iou(a: Tensor, b: Tensor, offset: int = 0) -> Tensor:
    """Of two boxes, x1, y1, x2, y2."""
    extent = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + offset).clamp(min=0)
    areas = [(box[2:] - box[:2] + offset).prod() for box in (a, b)]
    return extent.prod() / (sum(areas) - extent.prod())


def nms(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def nms_match(boxes: Tensor, scores: Tensor, threshold: float) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in scores.argsort(descending=True).tolist():
        near = [group for group in groups if iou(boxes[group[0]], boxes[i]) >= threshold]
        near[0].append(i) if near else groups.append([i])
    return groups


def soft_nms(boxes, scores, threshold, sigma, least, method, offset):
    """The kept indices with their scores, the best first; equal scores do not occur."""
    left = dict(enumerate(scores.tolist()))
    kept = []
    while left:
        best = max(left, key=left.__getitem__)
        kept.append((best, left.pop(best)))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset).item()
            lower = {"naive": 0, "linear": 1 - overlap}.get(method)
            if method == "gaussian":
                left[i] *= math.exp(-overlap * overlap / sigma)
            elif overlap >= threshold:
                left[i] *= lower
            if left[i] < least:
                del left[i]
    return kept


def between(image: Tensor, y: Tensor, x: Tensor, *, clamped: bool) -> Tensor:
    """The value of an image, (C, H, W), between pixels.

    Args:
        clamped: as in RoIAlign the border's value up to a pixel outside; else zeros lie outside.
    """
    height, width = image.shape[1:]
    if clamped:
        if y < -1 or y > height or x < -1 or x > width:
            return image.new_zeros(len(image))
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = math.floor(y), math.floor(x)
    total = image.new_zeros(len(image))
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < height and 0 <= column < width:
            total = total + image[:, row, column] * (1 - (y - row).abs()) * (1 - (x - column).abs())
    return total


def roi_align(features, rois, size, scale, ratio, mode, aligned, offset=None, gamma=0.0):
    """RoIAlign; with an offset, deformable RoI pooling."""
    output = []
    for number, (image, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (corner * scale - (0.5 if aligned else 0) for corner in corners)
        extent = [y2 - y1, x2 - x1]
        if not aligned:
            extent = [value.clamp(min=1) for value in extent]
        each = [value / bins for value, bins in zip(extent, size, strict=True)]
        grid = [ratio or math.ceil(value) for value in each]
        for row, column in product(*map(range, size)):
            start = [y1, x1]
            if offset is not None:
                moved = offset[number, :, row, column]
                start = [y1 + gamma * extent[0] * moved[1], x1 + gamma * extent[1] * moved[0]]
            points = [
                between(
                    features[int(image)],
                    start[0] + (row + (i + 0.5) / grid[0]) * each[0],
                    start[1] + (column + (j + 0.5) / grid[1]) * each[1],
                    clamped=True,
                )
                for i, j in product(range(grid[0]), range(grid[1]))
            ] or [features.new_zeros(features.shape[1])]
            values = torch.stack(points)
            output.append(values.amax(0) if mode == "max" else values.mean(0))
    return torch.stack(output).view(len(rois), *size, -1).permute(0, 3, 1, 2)


def roi_pool(features, rois, size, scale):
    output = features.new_zeros(len(rois), features.shape[1], *size)
    for number, (image, x1, y1, x2, y2) in enumerate(rois):
        rows = _spans(y1 * scale, (y2 + 1) * scale, size[0], features.shape[2])
        columns = _spans(x1 * scale, (x2 + 1) * scale, size[1], features.shape[3])
        for (row, (top, bottom)), (column, (left, right)) in product(rows, columns):
            if bottom > top and right > left:
                part = features[int(image), :, top:bottom, left:right]
                output[number, :, row, column] = part.flatten(1).amax(1)
    return output


def _spans(start: Tensor, end: Tensor, bins: int, most: int) -> list[tuple[int, tuple[int, int]]]:
    """The first pixel of each bin and the one behind its last."""
    edges = [start + (end - start) / bins * k for k in range(bins + 1)]
    spans = [(max(math.floor(a), 0), min(math.ceil(b), most)) for a, b in pairwise(edges)]
    return list(enumerate(spans if end > start else [(0, 0)] * bins))


def deform_conv(x, offset, weight, mask, stride, padding, dilation, groups, deform_groups):
    kernel = weight.shape[2:]
    output = x.new_zeros(len(x), len(weight), *offset.shape[2:])
    taps = list(product(*map(range, kernel)))
    shared = x.shape[1] // deform_groups
    for n, p, q in product(range(len(x)), *map(range, offset.shape[2:])):
        columns = []
        for g, (tap, (i, j)) in product(range(deform_groups), enumerate(taps)):
            move = offset[n, 2 * (g * len(taps) + tap) :][:2, p, q]
            y = p * stride - padding + i * dilation + move[0]
            z = q * stride - padding + j * dilation + move[1]
            value = between(x[n, g * shared : (g + 1) * shared], y, z, clamped=False)
            columns.append(value if mask is None else value * mask[n, g * len(taps) + tap, p, q])
        seen = torch.stack(columns).view(deform_groups, len(taps), shared)
        seen = seen.transpose(1, 2).reshape(groups, -1)
        output[n, :, p, q] = torch.einsum(
            "gok,gk->go", weight.reshape(groups, len(weight) // groups, -1), seen
        ).flatten()
    return output


def carafe(features, masks, kernel, groups, scale):
    count, channels, height, width = features.shape
    output = features.new_zeros(count, channels, height * scale, width * scale)
    for n, c, y, x in product(*map(range, output.shape)):
        group, total = c * groups // channels, 0
        for tap in range(kernel**2):
            row = y // scale + tap // kernel - kernel // 2
            column = x // scale + tap % kernel - kernel // 2
            if 0 <= row < height and 0 <= column < width:
                total = (
                    total + features[n, c, row, column] * masks[n, group * kernel**2 + tap, y, x]
                )
        output[n, c, y, x] = total
    return output


def psa_mask(values, kind, size):
    count, _, height, width = values.shape
    output = values.new_zeros(count, height * width, height, width)
    for y, x, i, j in product(range(height), range(width), *map(range, size)):
        row, column = y + i - (size[0] - 1) // 2, x + j - (size[1] - 1) // 2
        if 0 <= row < height and 0 <= column < width:
            value = values[:, i * size[1] + j, y, x]
            if kind == "collect":
                output[:, row * width + column, y, x] = value
            else:
                output[:, y * width + x, row, column] = value
    return output


def ms_deform_attn(value, shapes, locations, weights):
    count, queries, heads, _, points, _ = locations.shape
    output = value.new_zeros(count, queries, heads, value.shape[-1])
    for n, q, h in product(range(count), range(queries), range(heads)):
        start = 0
        for level, (height, width) in enumerate(shapes):
            pixels = value[n, start : start + height * width, h].T.view(-1, height, width)
            start += height * width
            for point in range(points):
                x, y = locations[n, q, h, level, point] * torch.tensor([width, height]) - 0.5
                seen = between(pixels, y, x, clamped=False)
                output[n, q, h] += weights[n, q, h, level, point] * seen
    return output.flatten(2)


def lanes_distance(a: Tensor, b: Tensor) -> float:
    """The mean distance of two lanes on the rows that they share; infinite where there are none."""
    spans = [
        (int(lane[2] * 71 + 0.5), int(lane[2] * 71 + 0.5) + int(lane[4]) - 1) for lane in (a, b)
    ]
    first, last = max(s for s, _ in spans), min(71, *(e for _, e in spans))
    if last < first:
        return math.inf
    return (a[5 + first : 6 + last] - b[5 + first : 6 + last]).abs().mean().item()
