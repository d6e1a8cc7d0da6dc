"""Deformable convolutions (Dai et al., 2017; Zhu et al., 2019), by torchvision's operator.

mmcv names the strides, paddings, dilations and numbers of groups; they are handed on in
torchvision's order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from resnext_backbones.mmcv_ops.precision import widen

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
]

PLAIN = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
MODULATED = (
    "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "group",
    "deformable_group",
)  # fmt: skip
"""mmcv's names for the geometry of the two kinds of convolution, in torchvision's order."""


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Fills in the output of a deformable convolution.

    Args:
        input: (N, C, H, W), in any memory format.
        weight: (O, C / group, kH, kW).
        offset: (N, deformable_group * 2 * kH * kW, P, Q), y before x.
        output: (N, O, P, Q), filled.
        columns, ones: memory of mmcv's.
        geometry: `PLAIN`, kH and kW, and im2col_step, which torchvision chooses for itself.
    """
    tensors, flags = _arguments(input, weight, offset, geometry=[geometry[name] for name in PLAIN])
    output.copy_(torch.ops.torchvision.deform_conv2d(*tensors, *flags))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Fills in the gradients of the input and the offsets; else as the forward pass."""
    shape = [geometry[name] for name in PLAIN]
    found = _gradients(grad_output, input, weight, offset, geometry=shape)
    grad_input.copy_(found[0])
    grad_offset.copy_(found[2])
    # torchvision computes all gradients at once, and mmcv asks for this one next.
    columns.resize_(weight.shape).copy_(found[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **geometry: int,
) -> None:
    """Adds the weight's gradient, times `scale`, to `grad_weight`; else as the forward pass."""
    if columns.shape != grad_weight.shape:  # no gradient of the input was asked for
        shape = [geometry[name] for name in PLAIN]
        columns = _gradients(grad_output, input, grad_weight, offset, geometry=shape)[1]
    grad_weight.add_(columns, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Fills in the output of a modulated deformable convolution.

    Args:
        mask: (N, deformable_group * kernel_h * kernel_w, P, Q), by which values are multiplied.
        bias: (O,), read where `with_bias`.
        geometry: `MODULATED`, kernel_h and kernel_w.

    The others are as of `deform_conv_forward`.
    """
    tensors, flags = _arguments(
        input, weight, offset, mask, bias if with_bias else None,
        geometry=[geometry[name] for name in MODULATED],
    )  # fmt: skip
    output.copy_(torch.ops.torchvision.deform_conv2d(*tensors, *flags))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Fills in all gradients; else as the forward pass."""
    found = _gradients(
        grad_output, input, weight, offset, mask, bias if with_bias else None,
        geometry=[geometry[name] for name in MODULATED],
    )  # fmt: skip
    filled = [grad_input, grad_weight, grad_offset, grad_mask]
    for gradient, value in zip([*filled, *[grad_bias] * with_bias], found, strict=False):
        gradient.copy_(value)


def _gradients(
    upstream: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    geometry: list[int],
) -> list[Tensor]:
    """Returns the gradients of input, weight, offset, mask and bias."""
    tensors, flags = _arguments(input, weight, offset, mask, bias, geometry=geometry)
    found = list(torch.ops.torchvision._deform_conv2d_backward(widen(upstream), *tensors, *flags))
    found[2] *= _moves_within(tensors[2], weight.shape[2:], geometry)
    return found


def _moves_within(offset: Tensor, kernel: torch.Size, geometry: list[int]) -> Tensor:
    """Returns whether a point lies less than a pixel outside, as `offset`.

    A whole pixel outside the value begins to rise from 0: mmcv has no gradient there, torchvision
    that of the side within. Offsets begin at 0, and then all points in the padding lie there.
    """
    count, _, *size = offset.shape
    moved = offset.reshape(count, geometry[-1], *kernel, 2, *size)
    within = torch.ones_like(moved[..., 0, :, :], dtype=torch.bool)
    for axis in (0, 1):
        stride, padding, dilation = geometry[axis:6:2]
        start = torch.arange(size[axis], device=offset.device) * stride - padding
        tap = torch.arange(kernel[axis], device=offset.device) * dilation
        # (kernel, 1, P, 1) for rows, (kernel, 1, Q) for columns
        place = (
            tap[:, None, None, None] + start[:, None] if axis == 0 else tap[:, None, None] + start
        )
        within &= place + moved[..., axis, :, :] > -1
    return within[..., None, :, :].expand_as(moved).reshape(offset.shape)


def _arguments(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    geometry: list[int],
) -> tuple[list[Tensor], list[int]]:
    """Returns what torchvision's operator takes: tensors, then geometry and whether masked."""
    without = input.new_zeros((len(input), 1)) if mask is None else mask
    shift = input.new_zeros(len(weight)) if bias is None else bias
    tensors = [widen(each) for each in (input, weight, offset, without, shift)]
    return tensors, [*geometry, mask is not None]
