"""Upsampling by kernels that the content chooses (Wang et al., CARAFE, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from resnext_backbones.mmcv_ops.precision import widen

__all__ = ["carafe_backward", "carafe_forward", "carafe_naive_backward", "carafe_naive_forward"]


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills in each pixel as the weighted sum of the pixels around the one that it comes from.

    Args:
        features: (N, C, H, W).
        masks: (N, group_size * kernel_size ** 2, s * H, s * W), the weights.
        output: (N, C, s * H, s * W), filled.
        group_size: groups of channels that share a kernel.
        scale_factor: s.
    """
    weights = _blocks(widen(masks), group_size, scale_factor)
    padded = _padded(features, kernel_size)
    total = torch.zeros_like(_blocks(widen(output), group_size, scale_factor))
    for tap, pixels in _taps(padded, features, kernel_size, group_size):
        total.addcmul_(pixels, weights[:, :, tap, None])
    output.copy_(total.reshape(output.shape))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills in the gradients of features and masks; else as the forward pass."""
    weights = _blocks(widen(masks), group_size, scale_factor)
    padded = _padded(features, kernel_size)
    gradient = torch.zeros_like(padded)
    upstream = _blocks(widen(grad_output), group_size, scale_factor)
    weight_gradient = torch.empty_like(weights)
    places = _taps(gradient, features, kernel_size, group_size)
    taps = _taps(padded, features, kernel_size, group_size)
    for (tap, pixels), (_, place) in zip(taps, places, strict=True):
        weight_gradient[:, :, tap] = (upstream * pixels).sum(2)
        place += (upstream * weights[:, :, tap, None]).sum((4, 6), keepdim=True)
    border = kernel_size // 2
    height, width = features.shape[-2:]
    grad_input.copy_(gradient[..., border : border + height, border : border + width])
    grad_masks.copy_(weight_gradient.reshape(masks.shape))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills in the output, as `carafe_naive_forward`.

    Args:
        rfeatures: as `features`, filled with them: mmcv keeps it for the backward pass.
        routput, rmasks: memory of mmcv's.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fills in the gradients, as `carafe_naive_backward`; the rgrad ones are memory of mmcv's."""
    carafe_naive_backward(
        grad_output, rfeatures, masks, grad_input, grad_masks,
        kernel_size, group_size, scale_factor,
    )  # fmt: skip


def _padded(features: Tensor, kernel_size: int) -> Tensor:
    return F.pad(widen(features), (kernel_size // 2,) * 4)


def _blocks(tensor: Tensor, groups: int, scale: int) -> Tensor:
    """Returns (N, C, s * H, s * W) as (N, groups, C / groups, H, s, W, s)."""
    count, channels, height, width = tensor.shape
    return tensor.reshape(
        count, groups, channels // groups, height // scale, scale, width // scale, scale
    )


def _taps(
    padded: Tensor, features: Tensor, kernel_size: int, groups: int
) -> Iterator[tuple[int, Tensor]]:
    """Yields the taps of a kernel with what each reads: (N, groups, C / groups, H, 1, W, 1)."""
    channels, height, width = features.shape[1:]
    for tap in range(kernel_size**2):
        top, left = divmod(tap, kernel_size)
        part = padded[..., top : top + height, left : left + width]
        yield tap, part.unflatten(1, (groups, channels // groups))[..., None, :, None]
