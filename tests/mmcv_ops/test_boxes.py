"""What chooses among boxes and lanes, and overlaps of boxes, against their definitions."""

from __future__ import annotations

import pytest
import torch
from mmcv_ops import definitions
from torch import Tensor


def _boxes(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    corners = torch.rand(count, 2, dtype=dtype) * 30
    boxes = torch.cat([corners, corners + 5 + torch.rand(count, 2, dtype=dtype) * 20], 1)
    return boxes, torch.rand(count, dtype=dtype)


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

    places = torch.tensor([0.0, 0, 0, 1, 2, 3, 4])  # the first three lie on one another
    boxes = places[:, None] * 100 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.tensor([0.9, 0.6, 0.7, 0.5, 0.5, 0.5, 0.5])
    _, kept = soft_nms(boxes, scores, method="naive")
    assert kept.tolist() == [0, 6, 5, 3, 4]


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


turned = pytest.mark.skipif(
    not hasattr(torch.ops.torchvision, "box_iou_rotated"), reason="torchvision is older than 0.27"
)


@turned
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
    flat = torch.tensor([[0.0, 0, 0, 2, 0.1]])
    assert box_iou_rotated(flat, second, "iof", clockwise=clockwise).tolist() == [[0, 0, 0]]
    boxes = torch.cat([first, second])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert nms_rotated(boxes, scores, 0.65, clockwise=clockwise)[1].tolist() == [0, 1, 2]
    half = nms_rotated(boxes.bfloat16(), scores.bfloat16(), 0.65, clockwise=clockwise)
    assert half[1].tolist() == [0, 1, 2]
    labels = torch.tensor([0, 0, 0, 1, 0, 0])
    assert nms_rotated(boxes, scores, 0.65, labels, clockwise)[1].tolist() == [0, 1, 2]


@turned
def test_the_angle_of_rotated_boxes_turns_as_mmcv_says() -> None:
    """Clockwise in an image: the corner at the right of a flat box moves down."""
    from mmcv.ops import box_iou_rotated

    flat = torch.tensor([[0.0, 0, 10, 1, torch.pi / 4]])
    down_right = torch.tensor([[3.0, 3, 1, 1, 0]])
    assert box_iou_rotated(flat, down_right).item() > 0
    assert box_iou_rotated(flat, down_right, clockwise=False).item() == 0
