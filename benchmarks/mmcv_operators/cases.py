"""Calls of mmcv's public operators on random inputs.

A case draws its inputs and returns what calls the operator: `CASES[name](Draw(seed))()`. The
tensors that the draw calls trained are those whose gradients are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmcv import ops
from torch import Tensor

Call = Callable[[], Any]
SIZE = 13, 17
"""Rows and columns of most feature maps: odd, and not alike."""


class Draw:
    """Draws random inputs; the trained ones are kept by name."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.trained: dict[str, Tensor] = {}

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def integers(self, high: int, *shape: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator)

    def train(self, name: str, tensor: Tensor) -> Tensor:
        self.trained[name] = tensor.requires_grad_()
        return tensor

    def boxes(self, count: int) -> Tensor:
        """Returns corners of boxes, of which some reach beyond the image."""
        image = torch.tensor([100.0, 80.0])
        centres = self.uniform(count, 2) * image
        sizes = (self.uniform(count, 2) * 0.6 + 0.02) * image
        return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)

    def rotated_boxes(self, count: int) -> Tensor:
        """Returns centre, width, height, angle in radians."""
        sizes = self.uniform(count, 2) * 30 + 2
        return torch.cat([self.uniform(count, 2) * 60, sizes, self.normal(count, 1)], dim=1)

    def scores(self, count: int) -> Tensor:
        """No two are alike, so that the order of the boxes is given."""
        order = torch.randperm(count, generator=self.generator)
        return (order + 1).float() / (count + 1)

    def rois(self) -> Tensor:
        """Returns boxes behind the index of their image, of three."""
        return torch.cat([self.integers(3, 20, 1).float(), self.boxes(20)], dim=1)


def nms(draw: Draw, offset: int, count: int = 300, **options: Any) -> Call:
    boxes, scores = draw.boxes(count), draw.scores(count)
    return lambda: ops.nms(boxes, scores, 0.5, offset=offset, **options)


def batched_nms(draw: Draw, **cfg: Any) -> Call:
    boxes, scores, classes = draw.boxes(400), draw.scores(400), draw.integers(5, 400)
    return lambda: ops.batched_nms(boxes, scores, classes, dict(cfg))


def soft_nms(draw: Draw, method: str, offset: int) -> Call:
    boxes, scores = draw.boxes(100), draw.scores(100)
    return lambda: ops.soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method, offset)


def nms_match(draw: Draw) -> Call:
    dets = torch.cat([draw.boxes(100), draw.scores(100)[:, None]], dim=1)
    return lambda: ops.nms_match(dets, 0.4)


def nms_rotated(draw: Draw, labels: bool, clockwise: bool) -> Call:
    boxes, scores, classes = draw.rotated_boxes(100), draw.scores(100), draw.integers(3, 100)
    return lambda: ops.nms_rotated(boxes, scores, 0.3, classes if labels else None, clockwise)


def line_nms(draw: Draw, top_k: int) -> Call:
    """Draws lanes by 72 positions; they come by score, since the compiled kernel takes them so."""
    scores = draw.scores(60).sort(descending=True).values
    lanes = draw.uniform(60, 77)
    lanes[:, 2], lanes[:, 4] = draw.uniform(60) * 0.5, draw.integers(60, 60, low=5).float()
    lanes[:, 5:] += draw.uniform(60, 1) * 3
    return lambda: ops.line_nms(lanes, scores, 0.4, top_k)


def roi_align(draw: Draw, mode: str, aligned: bool, ratio: int) -> Call:
    features = draw.train("input", draw.normal(3, 5, *SIZE))
    rois = draw.rois()
    return lambda: ops.roi_align(features, rois, (5, 7), 1 / 8, ratio, mode, aligned)


def roi_pool(draw: Draw) -> Call:
    features = draw.train("input", draw.normal(3, 5, *SIZE))
    rois = draw.rois()
    return lambda: ops.roi_pool(features, rois, (5, 7), 1 / 8)


def deform_roi_pool(draw: Draw, offset: bool, ratio: int) -> Call:
    features = draw.train("input", draw.normal(3, 5, *SIZE))
    rois = draw.rois()
    shifts = draw.train("offset", draw.normal(20, 2, 5, 7)) if offset else None
    return lambda: ops.deform_roi_pool(features, rois, shifts, (5, 7), 1 / 8, ratio, 0.1)


def output_size(stride: tuple[int, int], padding: int, dilation: int) -> tuple[int, int]:
    """Returns the size that a 3x3 convolution gives `SIZE`."""
    rows, columns = (
        (size + 2 * padding - 2 * dilation - 1) // step + 1
        for size, step in zip(SIZE, stride, strict=True)
    )
    return rows, columns


def deform_conv(
    draw: Draw,
    modulated: bool = False,
    groups: int = 1,
    deform_groups: int = 1,
    stride: tuple[int, int] = (1, 1),
    padding: int = 1,
    dilation: int = 1,
    images: int = 3,
    step: int = 32,
    with_bias: bool = True,
    offsets: float = 1.0,
) -> Call:
    size = output_size(stride, padding, dilation)
    features = draw.train("input", draw.normal(images, 8, *SIZE))
    offset = draw.train("offset", draw.normal(images, deform_groups * 18, *size, scale=offsets))
    weight = draw.train("weight", draw.normal(12, 8 // groups, 3, 3))
    geometry = stride, padding, dilation, groups, deform_groups
    if not modulated:
        return lambda: ops.deform_conv2d(features, offset, weight, *geometry, False, step)
    mask = draw.train("mask", draw.uniform(images, deform_groups * 9, *size))
    bias = draw.train("bias", draw.normal(12)) if with_bias else None
    return lambda: ops.modulated_deform_conv2d(features, offset, mask, weight, bias, *geometry)


def focal_loss(draw: Draw, function: Callable[..., Tensor], weight: bool, reduction: str) -> Call:
    scores = draw.train("input", draw.normal(40, 6, scale=3.0))
    # The class behind the last one is the background of the sigmoid's loss alone.
    last = 7 if function is ops.sigmoid_focal_loss else 6
    target = draw.integers(last, 40)
    weights = draw.uniform(6) if weight else None
    return lambda: function(scores, target, 1.7, 0.3, weights, reduction)


def masked_conv2d(draw: Draw) -> Call:
    features, weight, bias = draw.normal(1, 8, *SIZE), draw.normal(12, 8, 3, 3), draw.normal(12)
    mask = (draw.uniform(1, *SIZE) > 0.6).float()
    return lambda: ops.masked_conv2d(features, mask, weight, bias, 1)


def ms_deform_attn(draw: Draw) -> Call:
    shapes = torch.tensor([[9, 11], [5, 6], [3, 3]])
    sizes = shapes.prod(dim=1)
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]])
    value = draw.train("value", draw.normal(4, int(sizes.sum()), 2, 8))
    # Some of the points lie outside.
    points = draw.train("locations", draw.uniform(4, 10, 2, 3, 4, 2) * 1.2 - 0.1)
    weights = draw.train("weights", draw.uniform(4, 10, 2, 3, 4))
    function = ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction.apply
    return lambda: function(value, shapes, starts, points, weights, 2)


def carafe(draw: Draw, function: Callable[..., Tensor], kernel: int, groups: int) -> Call:
    features = draw.train("features", draw.normal(2, 8, 6, 7))
    masks = draw.train("masks", draw.uniform(2, kernel * kernel * groups, 12, 14))
    if function is ops.carafe_naive:  # whose backward mmcv's own Python stops without a GPU
        draw.trained.clear()
    return lambda: function(features, masks, kernel, groups, 2)


def psa_mask(draw: Draw, kind: str, size: tuple[int, int]) -> Call:
    scores = draw.train("input", draw.normal(2, size[0] * size[1], 6, 9))
    return lambda: ops.PSAMask(kind, size)(scores)


def bbox_overlaps(draw: Draw, mode: str, aligned: bool, offset: int) -> Call:
    first, second = draw.boxes(30), draw.boxes(30 if aligned else 20)
    return lambda: ops.bbox_overlaps(first, second, mode, aligned, offset)


def box_iou_rotated(draw: Draw, mode: str, aligned: bool, clockwise: bool) -> Call:
    first, second = draw.rotated_boxes(30), draw.rotated_boxes(30 if aligned else 20)
    return lambda: ops.box_iou_rotated(first, second, mode, aligned, clockwise)


DEFORMED: dict[str, dict[str, Any]] = {
    "": {},
    # A new layer has no offsets: all points are whole numbers, some just outside.
    ", offsets of 0": {"offsets": 0.0},
    ", groups": {"groups": 4},
    ", deform groups": {"deform_groups": 4},
    ", both, stride, dilation": {
        "groups": 2, "deform_groups": 2, "stride": (2, 3), "padding": 2, "dilation": 2,
    },
}  # fmt: skip
"""Both kinds of deformable convolution are asked for these."""

CASES: dict[str, Callable[[Draw], Call]] = {
    "nms": partial(nms, offset=0),
    "nms, offset 1": partial(nms, offset=1),
    "nms, at most 10 above a score": partial(nms, offset=0, score_threshold=0.3, max_num=10),
    "nms, no boxes": partial(nms, offset=0, count=0),
    "batched_nms": partial(batched_nms, type="nms", iou_threshold=0.5),
    "batched_nms, in parts": partial(
        batched_nms, type="nms", iou_threshold=0.5, split_thr=100, max_num=50
    ),
    "batched_nms, soft_nms": partial(batched_nms, type="soft_nms", iou_threshold=0.5),
    **{
        f"soft_nms, {method}, offset {offset}": partial(soft_nms, method=method, offset=offset)
        for method in ("naive", "linear", "gaussian")
        for offset in (0, 1)
    },
    "nms_match": nms_match,
    "nms_rotated": partial(nms_rotated, labels=False, clockwise=True),
    "nms_rotated, labels": partial(nms_rotated, labels=True, clockwise=True),
    "nms_rotated, counterclockwise": partial(nms_rotated, labels=False, clockwise=False),
    "line_nms": partial(line_nms, top_k=60),
    "line_nms, at most 4": partial(line_nms, top_k=4),
    **{
        f"roi_align, {mode}, {'aligned' if aligned else 'not aligned'}, "
        f"{ratio or 'adaptive'} samples": partial(
            roi_align, mode=mode, aligned=aligned, ratio=ratio
        )
        for mode in ("avg", "max")
        for aligned in (True, False)
        for ratio in (0, 2)
    },
    "roi_pool": roi_pool,
    "deform_roi_pool": partial(deform_roi_pool, offset=True, ratio=2),
    "deform_roi_pool, adaptive samples": partial(deform_roi_pool, offset=True, ratio=0),
    "deform_roi_pool, no offset": partial(deform_roi_pool, offset=False, ratio=2),
    **{
        f"{name}{what}": partial(deform_conv, modulated=modulated, **options)
        for name, modulated in (("deform_conv", False), ("modulated_deform_conv", True))
        for what, options in DEFORMED.items()
    },
    "deform_conv, six images in steps of two": partial(deform_conv, images=6, step=2),
    "modulated_deform_conv, no bias": partial(deform_conv, modulated=True, with_bias=False),
    **{
        f"{name}_focal_loss, {reduction}{', weights' if weight else ''}": partial(
            focal_loss, function=function, weight=weight, reduction=reduction
        )
        for name, function in (
            ("sigmoid", ops.sigmoid_focal_loss),
            ("softmax", ops.softmax_focal_loss),
        )
        for weight, reduction in ((False, "mean"), (True, "sum"), (True, "none"))
        # mmcv's backward of softmax_focal_loss multiplies (N, C) by a gradient of shape (N,).
        if (name, reduction) != ("softmax", "none")
    },
    "masked_conv2d": masked_conv2d,
    "ms_deform_attn": ms_deform_attn,
    "carafe": partial(carafe, function=ops.carafe, kernel=5, groups=1),
    "carafe, groups": partial(carafe, function=ops.carafe, kernel=3, groups=4),
    "carafe_naive": partial(carafe, function=ops.carafe_naive, kernel=5, groups=1),
    "carafe_naive, groups": partial(carafe, function=ops.carafe_naive, kernel=3, groups=4),
    **{
        f"psa_mask, {kind}, {size[0]}x{size[1]}": partial(psa_mask, kind=kind, size=size)
        for kind in ("collect", "distribute")
        for size in ((5, 7), (11, 17))
    },
    **{
        f"bbox_overlaps, {mode}, offset {offset}{', aligned' if aligned else ''}": partial(
            bbox_overlaps, mode=mode, aligned=aligned, offset=offset
        )
        for mode in ("iou", "iof")
        for offset in (0, 1)
        for aligned in (False, True)
    },
    **{
        f"box_iou_rotated, {mode}{', aligned' if aligned else ''}"
        f"{'' if clockwise else ', counterclockwise'}": partial(
            box_iou_rotated, mode=mode, aligned=aligned, clockwise=clockwise
        )
        for mode in ("iou", "iof")
        for aligned in (False, True)
        for clockwise in (True, False)
    },
}
