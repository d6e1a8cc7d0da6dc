"""Operators against their definitions in float64, and gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmcv_ops import definitions
from torch import Tensor
from torch.nn import functional as F

ROIS = torch.tensor(
    [
        [1, 2.3, 1.1, 13.9, 11.7],
        [0, -3.2, -2.1, 9.4, 5.3],  # begins outside
        [0, 4.1, 3.3, 30.0, 40.0],  # ends outside
        [1, 6.2, 6.1, 6.9, 7.2],  # within a pixel
    ],
    dtype=torch.float64,
)


def _random(*shape: int, low: float = -1, high: float = 1) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) * (high - low) + low


def _boxes(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    corners = torch.rand(count, 2, dtype=dtype) * 30
    boxes = torch.cat([corners, corners + 5 + torch.rand(count, 2, dtype=dtype) * 20], 1)
    return boxes, torch.rand(count, dtype=dtype)


def _roi_align(**options: Any) -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import roi_align

    arguments = {"scale": 0.5, "ratio": 2, "mode": "avg", "aligned": True} | options
    return (
        lambda x: roi_align(x, ROIS, (2, 3), *arguments.values()),
        lambda x: definitions.roi_align(x, ROIS, (2, 3), *arguments.values()),
        [_random(2, 3, 7, 8)],
    )


def _roi_pool() -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import roi_pool

    return (
        lambda x: roi_pool(x, ROIS, (2, 3), 0.5),
        lambda x: definitions.roi_pool(x, ROIS, (2, 3), 0.5),
        [_random(2, 3, 7, 8)],
    )


def _deform_roi_pool(ratio: int, moved: bool) -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import deform_roi_pool

    inputs = [_random(2, 3, 7, 8), *[_random(4, 2, 2, 3)] * moved]

    def reference(x: Tensor, offset: Tensor | None = None) -> Tensor:
        return definitions.roi_align(x, ROIS, (2, 3), 0.5, ratio, "avg", True, offset, gamma=0.3)

    def own(x: Tensor, offset: Tensor | None = None) -> Tensor:
        return deform_roi_pool(x, ROIS, offset, (2, 3), 0.5, ratio, 0.3)

    return own, reference, inputs


def _deform_conv(
    stride: int, dilation: int, groups: int, deform_groups: int, step: int = 32
) -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import deform_conv2d

    geometry = (stride, 1, dilation, groups, deform_groups)
    inputs, size = _deformable(*geometry[:-1])
    offset = _random(2, deform_groups * 12, *size, low=-2, high=2)
    return (
        lambda x, w, o: deform_conv2d(x, o, w, *geometry, False, step),
        lambda x, w, o: definitions.deform_conv(x, o, w, None, *geometry),
        [*inputs, offset],
    )


def _modulated(stride: int, dilation: int, groups: int, deform_groups: int, bias: bool):
    from mmcv.ops import modulated_deform_conv2d

    geometry = (stride, 1, dilation, groups, deform_groups)
    inputs, size = _deformable(*geometry[:-1])
    offset = _random(2, deform_groups * 12, *size, low=-2, high=2)
    mask = _random(2, deform_groups * 6, *size, low=0)

    def reference(x: Tensor, w: Tensor, o: Tensor, m: Tensor, *b: Tensor) -> Tensor:
        plain = definitions.deform_conv(x, o, w, m, *geometry)
        return plain + b[0][:, None, None] if b else plain

    return (
        lambda x, w, o, m, *b: modulated_deform_conv2d(x, o, m, w, *(b or [None]), *geometry),
        reference,
        [*inputs, offset, mask, *[_random(4)] * bias],
    )


def _deformable(
    stride: int, padding: int, dilation: int, groups: int
) -> tuple[list[Tensor], torch.Size]:
    x, weight = _random(2, 4, 6, 5), _random(4, 4 // groups, 3, 2)
    return [x, weight], F.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]


def _sigmoid_focal_loss(weighted: bool, reduction: str) -> tuple[Callable, Callable, list[Tensor]]:
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
        [_random(5, 3, low=-3, high=3)],
    )


def _softmax_focal_loss(weighted: bool) -> tuple[Callable, Callable, list[Tensor]]:
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
        [_random(4, 3, low=-3, high=3)],
    )


def _carafe() -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import carafe

    return (
        lambda x, m: carafe(x, m, 3, 2, 2),
        lambda x, m: definitions.carafe(x, m, 3, 2, 2),
        [_random(2, 4, 3, 2), _random(2, 18, 6, 4)],
    )


def _psa_mask(kind: str) -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops import PSAMask

    return (
        PSAMask(kind, (3, 5)),
        lambda x: definitions.psa_mask(x, kind, (3, 5)),
        [_random(2, 15, 4, 3)],
    )


def _ms_deform_attn() -> tuple[Callable, Callable, list[Tensor]]:
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[4, 3], [2, 2]])
    starts = torch.tensor([0, 12])
    return (
        lambda v, o, w: MultiScaleDeformableAttnFunction.apply(v, shapes, starts, o, w, 64),
        lambda v, o, w: definitions.ms_deform_attn(v, shapes.tolist(), o, w),
        [
            _random(2, 16, 2, 3),
            _random(2, 3, 2, 2, 2, 2, low=-0.2, high=1.2),
            _random(2, 3, 2, 2, 2),
        ],
    )


CASES: dict[str, Callable[[], tuple[Callable, Callable, list[Tensor]]]] = {
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients(case) -> None:
    own, reference, inputs = case()
    expected = reference(*inputs)
    torch.testing.assert_close(own(*inputs), expected, rtol=1e-12, atol=1e-12)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(own, leaves, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_half_precision_and_memory_formats(case, dtype: torch.dtype) -> None:
    """Inputs of half precision compute in float32; channels_last memory is read as what it is."""
    own, _, inputs = case()
    rounded = [tensor.to(dtype).requires_grad_() for tensor in inputs]
    strided = [
        each.detach().contiguous(memory_format=torch.channels_last) if each.dim() == 4 else each
        for each in (tensor.to(dtype).float() for tensor in inputs)
    ]
    strided = [each.detach().requires_grad_() for each in strided]
    results = []
    for tensors in (rounded, strided):
        output = own(*tensors)
        upstream = torch.linspace(-1, 1, output.numel()).view_as(output).to(dtype).to(output)
        results.append([output, *torch.autograd.grad(output, tensors, upstream)])
    assert results[0][0].dtype == dtype
    for half, whole in zip(*results, strict=True):
        scale = whole.abs().max()
        assert (half.float() - whole).abs().max() <= 2 * torch.finfo(dtype).eps * scale


@pytest.mark.parametrize("case", ["roi_align", "modulated_deform_conv", "sigmoid_focal_loss"])
def test_compiled_by_torch(case: str) -> None:
    own, _, inputs = CASES[case]()
    tensors = [tensor.requires_grad_() for tensor in inputs]
    compiled = torch.compile(own, backend="aot_eager")
    results = []
    for function in (own, compiled):
        output = function(*tensors)
        results.append([output, *torch.autograd.grad(output.sum(), tensors)])
    for plain, other in zip(*results, strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_nms(offset: int, dtype: torch.dtype) -> None:
    from mmcv.ops import nms

    boxes, scores = _boxes(40)
    boxes, scores = boxes.round().to(dtype), scores.argsort().to(dtype)
    detections, kept = nms(boxes, scores, 0.4, offset=offset)
    expected = definitions.nms(boxes.double(), scores.double(), 0.4, offset)
    assert kept.tolist() == expected
    assert len(kept) < 40
    assert torch.equal(detections, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
def test_soft_nms(method: str, offset: int) -> None:
    from mmcv.ops import soft_nms

    boxes, scores = _boxes(40, torch.float32)
    options = {"sigma": 0.6, "min_score": 0.2, "method": method, "offset": offset}
    detections, kept = soft_nms(boxes, scores, 0.3, **options)
    expected = definitions.soft_nms(boxes.double(), scores, 0.3, 0.6, 0.2, method, offset)
    assert kept.tolist() == [index for index, _ in expected]
    assert 1 < len(kept) < 40
    assert detections[:, 4].tolist() == pytest.approx([score for _, score in expected], rel=1e-6)
    assert torch.equal(detections[:, :4], boxes[kept])


def test_soft_nms_orders_equal_scores_as_mmcv_does() -> None:
    """mmcv fills the place of a dropped box from the end, and takes the first of equal scores."""
    from mmcv.ops import soft_nms

    apart = torch.arange(6.0)[:, None] * 100 + torch.tensor([0.0, 0, 10, 10])
    boxes = torch.cat([apart, apart[:2]])  # the last two lie on the first two
    _, kept = soft_nms(
        boxes, torch.tensor([0.9, 0.8, 0.5, 0.5, 0.5, 0.5, 0.7, 0.6]), method="naive"
    )
    assert kept.tolist() == [0, 1, 2, 3, 4, 5]


def test_nms_match() -> None:
    from mmcv.ops import nms_match

    boxes, scores = _boxes(40, torch.float32)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
    expected = definitions.nms_match(boxes.double(), scores, 0.3)
    assert [group.tolist() for group in groups] == expected
    assert max(map(len, expected)) > 1


def test_line_nms() -> None:
    from mmcv.ops import line_nms

    lanes = torch.zeros(24, 77)
    lanes[:, 2] = torch.rand(24)
    lanes[:, 4] = torch.randint(0, 60, (24,))
    lanes[:, 5:] = torch.rand(24, 1) * 10 + torch.rand(24, 72)
    scores = torch.rand(24)
    kept, count, parents = line_nms(lanes, scores, 1.0, 9)
    expected: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(definitions.lanes_distance(lanes[i], lanes[j]) >= 1.0 for j in expected):
            expected.append(i)
    assert len(expected) > 9
    assert kept[:count].tolist() == expected[:9]
    assert (kept[count:] == 0).all()
    assert parents[kept[:count]].tolist() == list(range(1, 10))
    for lane, parent in enumerate(parents.tolist()):
        near = [definitions.lanes_distance(lanes[lane], lanes[i]) < 1.0 for i in expected[:9]]
        assert (parent > 0) == any([*near, lane in expected[:9]])


@pytest.mark.parametrize("mode", ["iou", "iof"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
def test_bbox_overlaps(mode: str, aligned: bool, offset: int) -> None:
    from mmcv.ops import bbox_overlaps
    from mmcv.ops.bbox import _bbox_overlaps_cpu

    first, second = _boxes(9)[0], _boxes(9)[0]
    own = bbox_overlaps(first, second, mode, aligned, offset)
    torch.testing.assert_close(own, _bbox_overlaps_cpu(first, second, mode, aligned, offset))


@pytest.mark.parametrize("clockwise", [True, False])
def test_rotated_boxes(clockwise: bool) -> None:
    """Boxes turned by a right angle are upright boxes; an eighth of a turn is computed by hand."""
    from mmcv.ops import box_iou_rotated, nms_rotated

    quarter, eighth = torch.pi / 2, torch.pi / 4
    first = torch.tensor([[0.0, 0, 4, 2, 0], [0, 0, 2, 2, 0], [2, 1, 4, 2, 0.3]])
    second = torch.tensor([[0.0, 0, 2, 4, quarter], [0, 0, 2, 2, eighth], [2, 1, 4, 2, 0.3]])
    shared = 8 * (2**0.5 - 1)  # a regular octagon around a circle of radius 1
    aligned = box_iou_rotated(first, second, aligned=True, clockwise=clockwise)
    torch.testing.assert_close(aligned, torch.tensor([1, shared / (8 - shared), 1]))
    iof = box_iou_rotated(first[:2], second[:2], "iof", clockwise=clockwise)
    torch.testing.assert_close(iof.diagonal(), torch.tensor([1, shared / 4]))
    boxes = torch.cat([first, second])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert nms_rotated(boxes, scores, 0.65, clockwise=clockwise)[1].tolist() == [0, 1, 2]
    labels = torch.tensor([0, 0, 0, 1, 0, 0])
    assert nms_rotated(boxes, scores, 0.65, labels, clockwise)[1].tolist() == [0, 1, 2]


def test_the_angle_of_rotated_boxes_turns_as_mmcv_says() -> None:
    """Clockwise in an image: the corner at the right of a flat box moves down."""
    from mmcv.ops import box_iou_rotated

    flat = torch.tensor([[0.0, 0, 10, 1, torch.pi / 4]])
    down_right = torch.tensor([[3.0, 3, 1, 1, 0]])
    assert box_iou_rotated(flat, down_right).item() > 0
    assert box_iou_rotated(flat, down_right, clockwise=False).item() == 0


def test_masked_convolution() -> None:
    from mmcv.ops import masked_conv2d

    x, weight, bias = _random(1, 3, 6, 5), _random(4, 3, 3, 3), _random(4)
    mask = torch.rand(1, 6, 5) > 0.5
    own = masked_conv2d(x, mask, weight, bias, 1)
    torch.testing.assert_close(own, F.conv2d(x, weight, bias, padding=1) * mask)
    assert not masked_conv2d(x, torch.zeros(1, 6, 5), weight, bias, 1).any()


def test_naive_carafe() -> None:
    from mmcv.ops import carafe_naive

    features, masks = _random(2, 4, 3, 2), _random(2, 18, 6, 4)
    expected = definitions.carafe(features, masks, 3, 2, 2)
    torch.testing.assert_close(carafe_naive(features, masks, 3, 2, 2), expected)


def test_synchronised_batch_norm(tmp_path) -> None:
    """One process against PyTorch's batch norm."""
    from mmcv.ops import SyncBatchNorm
    from torch import distributed, nn

    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        own, plain = SyncBatchNorm(3), nn.BatchNorm2d(3)
        plain.load_state_dict(own.state_dict())
        x = torch.randn(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
        results = []
        for module in (own, plain):
            images = x.clone().requires_grad_()
            output = module(images)
            upstream = torch.linspace(-1, 1, output.numel()).view_as(output)
            results.append(
                [output, *torch.autograd.grad(output, [images, *module.parameters()], upstream)]
            )
            results[-1] += [module.running_mean, module.running_var]
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    finally:
        distributed.destroy_process_group()


def test_nothing_to_compute() -> None:
    """No regions, no boxes, no lanes, no images."""
    from mmcv import ops

    x = torch.randn(2, 3, 7, 8, requires_grad=True)
    none, boxes, scores = torch.zeros(0, 5), torch.zeros(0, 4), torch.zeros(0)
    for pool in (
        ops.RoIAlign((2, 3)),
        ops.RoIAlign((2, 3), pool_mode="max"),
        ops.RoIPool((2, 3)),
        ops.DeformRoIPool((2, 3)),
    ):
        pooled = pool(x, none)
        assert pooled.shape == (0, 3, 2, 3)
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert not gradient.any()
    assert ops.nms(boxes, scores, 0.5)[1].tolist() == []
    assert ops.soft_nms(boxes, scores)[1].tolist() == []
    assert ops.line_nms(torch.zeros(0, 77), scores, 1.0, 9)[1] == 0
    assert ops.box_iou_rotated(none, none).shape == (0, 0)
    assert ops.RoIAlign((2, 3))(x[:0], none).shape == (0, 3, 2, 3)
    empty = torch.zeros(0, 3, requires_grad=True)
    for loss in (ops.sigmoid_focal_loss, ops.softmax_focal_loss):
        assert loss(empty, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum") == 0
