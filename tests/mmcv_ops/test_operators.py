"""Operators against their definitions in float64, and gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from mmcv_ops import definitions
from mmcv_ops.cases import CASES, random
from torch.nn import functional as F
from torchvision.ops import deform_conv2d as deform_conv2d_of_torchvision


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


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_have_no_gradient_a_whole_pixel_outside(modulated: bool) -> None:
    """As in mmcv; offsets begin at 0, with the padding's points at -1."""
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    x, weight, geometry = random(2, 4, 5, 6), random(4, 2, 3, 3), (2, 1, 1, 2, 2)
    offset = torch.zeros(2, 36, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = random(2, 18, 3, 3, low=0.1)
    if modulated:
        own = modulated_deform_conv2d(x, offset, mask, weight, None, *geometry)
    else:
        own = deform_conv2d(x, offset, weight, *geometry)
    (found,) = torch.autograd.grad(own.square().sum(), offset)
    # Just within, where there is only one side.
    moved = torch.full_like(offset, 1e-9, requires_grad=True)
    plain = deform_conv2d_of_torchvision(
        x, moved, weight, None, 2, 1, 1, mask if modulated else None
    )
    (expected,) = torch.autograd.grad(plain.square().sum(), moved)
    taps = expected.view(2, 2, 3, 3, 2, 3, 3).clone()
    taps[:, :, 0, :, :, 0, :] = 0  # the upper row of the kernel, at the upper row of the output
    taps[:, :, :, 0, :, :, 0] = 0
    assert (taps != 0).sum() > 400
    torch.testing.assert_close(found, taps.view_as(found), rtol=1e-6, atol=1e-6)


def test_masked_convolution() -> None:
    from mmcv.ops import masked_conv2d

    x, weight, bias = random(1, 3, 6, 5), random(4, 3, 3, 3), random(4)
    mask = torch.rand(1, 6, 5) > 0.5
    own = masked_conv2d(x, mask, weight, bias, 1)
    torch.testing.assert_close(own, F.conv2d(x, weight, bias, padding=1) * mask)
    assert not masked_conv2d(x, torch.zeros(1, 6, 5), weight, bias, 1).any()


def test_naive_carafe() -> None:
    from mmcv.ops import carafe_naive

    features, masks = random(2, 4, 3, 2), random(2, 18, 6, 4)
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
    if hasattr(torch.ops.torchvision, "box_iou_rotated"):
        assert ops.box_iou_rotated(none, none).shape == (0, 0)
        assert ops.box_iou_rotated(none, none, aligned=True).shape == (0,)
    assert ops.RoIAlign((2, 3))(x[:0], none).shape == (0, 3, 2, 3)
    empty = torch.zeros(0, 3, requires_grad=True)
    for loss in (ops.sigmoid_focal_loss, ops.softmax_focal_loss):
        assert loss(empty, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum") == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast(dtype: torch.dtype) -> None:
    """What convolutions hand on in half precision is pooled and convolved in float32."""
    from mmcv.ops import ModulatedDeformConv2dPack, RoIAlign, sigmoid_focal_loss

    conv, align = ModulatedDeformConv2dPack(8, 8, 3, padding=1), RoIAlign(3, 0.5)
    boxes = torch.tensor([[0, 1.0, 2, 13, 11], [0, 3, 3, 9, 15]])
    x = torch.randn(1, 8, 8, 8)

    def loss() -> torch.Tensor:
        pooled = align(conv(x), boxes)
        target = torch.arange(2)
        return sigmoid_focal_loss(pooled.flatten(1), target, 2.0, 0.25, None, "mean")

    expected = loss()
    with torch.autocast("cpu", dtype):
        assert align(conv(x), boxes).dtype == dtype
        found = loss()
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    found.backward()
    assert all(parameter.grad.isfinite().all() for parameter in conv.parameters())


def test_the_gradient_of_a_deformable_weight() -> None:
    """Alone, and twice over the memory that mmcv hands from one call to the next."""
    own, _, (x, weight, offset) = CASES["deform_conv, strided, grouped"]()
    weight.requires_grad_()
    (alone,) = torch.autograd.grad(own(x, weight, offset).square().sum(), weight)
    total = own(x.requires_grad_(), weight, offset.requires_grad_()).square().sum()
    for _ in range(2):
        found = torch.autograd.grad(total, (x, weight, offset), retain_graph=True)
        torch.testing.assert_close(found[1], alone, rtol=1e-12, atol=1e-12)


def test_boxes_that_are_not_finite_end_in_an_error() -> None:
    """On a CPU torchvision's operator would end the process."""
    from mmcv.ops import roi_align

    x = torch.randn(1, 2, 4, 4)
    for mode in ("avg", "max"):
        with pytest.raises(ValueError, match="RoIAlign: some boxes are not finite"):
            roi_align(x, torch.tensor([[0, 0, 0, float("nan"), 2]]), 2, 1.0, 0, mode, True)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_average_in_one_order_has_the_gradient_of_the_kernel(ratio: int, aligned: bool) -> None:
    """GPUs that are to repeat compute it so; regions hang over the border, and one is empty."""
    from resnext_backbones.mmcv_ops.roi_align import _regions, average_backward_in_order

    shape, size, scale = (2, 3, 9, 11), (2, 3), 0.5
    boxes = [[0, -4, -3, 9, 8], [1, 3, 2, 21, 17.5], [0, 15, 12, 40, 30], [1, 5, 5, 5, 5]]
    rois, upstream = torch.tensor(boxes).double(), random(4, 3, *size)
    kernel = torch.ops.torchvision._roi_align_backward(
        upstream, rois, scale, *size, *shape, ratio, aligned
    )
    regions = _regions(rois, size, scale, ratio, aligned)
    own = average_backward_in_order(upstream, regions, torch.empty(shape).double())
    torch.testing.assert_close(own, kernel, rtol=1e-12, atol=1e-12)
    assert kernel.abs().sum() > 0
