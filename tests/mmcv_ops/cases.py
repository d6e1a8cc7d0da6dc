"""Operators with their definitions and inputs in float64, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmcv_ops import definitions
from torch import Tensor
from torch.nn import functional as F

Case = tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]
"""The operator, its definition, and inputs for both, which have gradients."""

ROIS = torch.tensor(
    [
        [1, 2.3, 1.1, 13.9, 11.7],
        [0, -3.2, -2.1, 9.4, 5.3],  # begins outside
        [0, 4.1, 3.3, 30.0, 40.0],  # ends outside
        [1, 6.2, 6.1, 6.9, 7.2],  # within a pixel
        [0, 2, 3, 2, 9],  # without a width
    ],
    dtype=torch.float64,
)


def random(*shape: int, low: float = -1, high: float = 1) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) * (high - low) + low


def _roi_align(**options: Any) -> Case:
    from mmcv.ops import roi_align

    arguments = {"scale": 0.5, "ratio": 2, "mode": "avg", "aligned": True} | options
    return (
        lambda x: roi_align(x, ROIS, (2, 3), *arguments.values()),
        lambda x: definitions.roi_align(x, ROIS, (2, 3), *arguments.values()),
        [random(2, 3, 7, 8)],
    )


def _roi_pool() -> Case:
    from mmcv.ops import roi_pool

    return (
        lambda x: roi_pool(x, ROIS, (2, 3), 0.5),
        lambda x: definitions.roi_pool(x, ROIS, (2, 3), 0.5),
        [random(2, 3, 7, 8)],
    )


def _deform_roi_pool(ratio: int, moved: bool) -> Case:
    from mmcv.ops import deform_roi_pool

    inputs = [random(2, 3, 7, 8), *[random(5, 2, 2, 3)] * moved]

    def reference(x: Tensor, offset: Tensor | None = None) -> Tensor:
        return definitions.roi_align(x, ROIS, (2, 3), 0.5, ratio, "avg", True, offset, gamma=0.3)

    def own(x: Tensor, offset: Tensor | None = None) -> Tensor:
        return deform_roi_pool(x, ROIS, offset, (2, 3), 0.5, ratio, 0.3)

    return own, reference, inputs


def _deform_conv(
    stride: int, dilation: int, groups: int, deform_groups: int, step: int = 32
) -> Case:
    from mmcv.ops import deform_conv2d

    geometry = (stride, 1, dilation, groups, deform_groups)
    inputs, size = _deformable(*geometry[:-1])
    offset = random(2, deform_groups * 12, *size, low=-2, high=2)
    return (
        lambda x, w, o: deform_conv2d(x, o, w, *geometry, False, step),
        lambda x, w, o: definitions.deform_conv(x, o, w, None, *geometry),
        [*inputs, offset],
    )


def _modulated(stride: int, dilation: int, groups: int, deform_groups: int, bias: bool) -> Case:
    from mmcv.ops import modulated_deform_conv2d

    geometry = (stride, 1, dilation, groups, deform_groups)
    inputs, size = _deformable(*geometry[:-1])
    offset = random(2, deform_groups * 12, *size, low=-2, high=2)
    mask = random(2, deform_groups * 6, *size, low=0)

    def reference(x: Tensor, w: Tensor, o: Tensor, m: Tensor, *b: Tensor) -> Tensor:
        plain = definitions.deform_conv(x, o, w, m, *geometry)
        return plain + b[0][:, None, None] if b else plain

    return (
        lambda x, w, o, m, *b: modulated_deform_conv2d(x, o, m, w, *(b or [None]), *geometry),
        reference,
        [*inputs, offset, mask, *[random(4)] * bias],
    )


def _deformable(
    stride: int, padding: int, dilation: int, groups: int
) -> tuple[list[Tensor], torch.Size]:
    x, weight = random(2, 4, 6, 5), random(4, 4 // groups, 3, 2)
    return [x, weight], F.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]


def _sigmoid_focal_loss(weighted: bool, reduction: str) -> Case:
    from mmcv.ops import sigmoid_focal_loss

    target = torch.tensor([0, 2, 3, -1, 1])  # 3 and -1 are no class
    weight = torch.tensor([0.5, 2, 1.5], dtype=torch.float64) if weighted else None

    def reference(x: Tensor) -> Tensor:
        one_hot = target[:, None] == torch.arange(3)
        p = torch.where(one_hot, x.sigmoid(), 1 - x.sigmoid())
        loss = -(0.7 - 0.4 * one_hot.double()) * (1 - p) ** 1.7 * p.log()
        if weight is not None:
            rows = torch.tensor([0.5, 1.5, 1, 1, 2], dtype=torch.float64)
            loss = loss * rows[:, None]
        return {"none": loss, "sum": loss.sum(), "mean": loss.sum() / 5}[reduction]

    return (
        lambda x: sigmoid_focal_loss(x, target, 1.7, 0.3, weight, reduction),
        reference,
        [random(5, 3, low=-3, high=3)],
    )


def _softmax_focal_loss(weighted: bool) -> Case:
    from mmcv.ops import softmax_focal_loss

    target = torch.tensor([0, 2, -1, 1])  # -1 has no loss
    weight = torch.tensor([0.5, 2, 1.5], dtype=torch.float64) if weighted else None

    def reference(x: Tensor) -> Tensor:
        p = x.softmax(1)[torch.arange(4), target]
        loss = -0.3 * (1 - p) ** 1.7 * p.log() * (target >= 0)
        return (loss if weight is None else loss * weight[target]).sum() / 4

    return (
        lambda x: softmax_focal_loss(x, target, 1.7, 0.3, weight, "mean"),
        reference,
        [random(4, 3, low=-3, high=3)],
    )


def _carafe() -> Case:
    from mmcv.ops import carafe

    return (
        lambda x, m: carafe(x, m, 3, 2, 2),
        lambda x, m: definitions.carafe(x, m, 3, 2, 2),
        [random(2, 4, 3, 2), random(2, 18, 6, 4)],
    )


def _psa_mask(kind: str) -> Case:
    from mmcv.ops import PSAMask

    return (
        PSAMask(kind, (3, 5)),
        lambda x: definitions.psa_mask(x, kind, (3, 5)),
        [random(2, 15, 4, 3)],
    )


def _ms_deform_attn() -> Case:
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[4, 3], [2, 2]])
    starts = torch.tensor([0, 12])
    return (
        lambda v, o, w: MultiScaleDeformableAttnFunction.apply(v, shapes, starts, o, w, 64),
        lambda v, o, w: definitions.ms_deform_attn(v, shapes.tolist(), o, w),
        [
            random(2, 16, 2, 3),
            random(2, 3, 2, 2, 2, 2, low=-0.2, high=1.2),
            random(2, 3, 2, 2, 2),
        ],
    )


CASES: dict[str, Callable[[], Case]] = {
    "roi_align": _roi_align,
    "roi_align, not aligned": lambda: _roi_align(aligned=False),
    "roi_align, as many points as pixels": lambda: _roi_align(ratio=0, scale=1.0),
    "roi_align, maximum": lambda: _roi_align(mode="max"),
    "roi_align, maximum, as many points as pixels": lambda: _roi_align(mode="max", ratio=0),
    "roi_align, maximum, not aligned": lambda: _roi_align(mode="max", aligned=False),
    "roi_pool": _roi_pool,
    "deform_roi_pool": lambda: _deform_roi_pool(2, moved=True),
    "deform_roi_pool, as many points as pixels": lambda: _deform_roi_pool(0, moved=True),
    "deform_roi_pool, not moved": lambda: _deform_roi_pool(2, moved=False),
    "deform_conv": lambda: _deform_conv(1, 1, 1, 1),
    "deform_conv, strided, grouped": lambda: _deform_conv(2, 1, 2, 2),
    "deform_conv, dilated, image by image": lambda: _deform_conv(1, 2, 1, 2, step=1),
    "modulated_deform_conv": lambda: _modulated(1, 1, 1, 1, bias=True),
    "modulated_deform_conv, strided, dilated, grouped": lambda: _modulated(2, 2, 2, 2, bias=False),
    "sigmoid_focal_loss": lambda: _sigmoid_focal_loss(False, "none"),
    "sigmoid_focal_loss, weighted": lambda: _sigmoid_focal_loss(True, "mean"),
    "softmax_focal_loss": lambda: _softmax_focal_loss(False),
    "softmax_focal_loss, weighted": lambda: _softmax_focal_loss(True),
    "carafe": _carafe,
    "psamask, collect": lambda: _psa_mask("collect"),
    "psamask, distribute": lambda: _psa_mask("distribute"),
    "ms_deform_attn": _ms_deform_attn,
}
