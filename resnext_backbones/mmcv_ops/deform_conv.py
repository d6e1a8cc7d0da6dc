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
    """Fill in the output of a deformable convolution.

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
    """Fill in the gradients of the input and the offsets; else as the forward pass."""
    tensors, flags = _arguments(input, weight, offset, geometry=[geometry[name] for name in PLAIN])
    found = torch.ops.torchvision._deform_conv2d_backward(widen(grad_output), *tensors, *flags)
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
    """Add the gradient of the weight, times `scale`, to `grad_weight`; else as the forward pass."""
    if columns.shape != grad_weight.shape:  # no gradient of the input was asked for
        tensors, flags = _arguments(
            input, grad_weight, offset, geometry=[geometry[name] for name in PLAIN]
        )
        columns = torch.ops.torchvision._deform_conv2d_backward(
            widen(grad_output), *tensors, *flags
        )[1]
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
    """Fill in the output of a modulated deformable convolution.

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
    """Fill in all gradients; else as the forward pass."""
    tensors, flags = _arguments(
        input, weight, offset, mask, bias if with_bias else None,
        geometry=[geometry[name] for name in MODULATED],
    )  # fmt: skip
    found = torch.ops.torchvision._deform_conv2d_backward(widen(grad_output), *tensors, *flags)
    filled = [grad_input, grad_weight, grad_offset, grad_mask]
    for gradient, value in zip([*filled, *[grad_bias] * with_bias], found, strict=False):
        gradient.copy_(value)


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
