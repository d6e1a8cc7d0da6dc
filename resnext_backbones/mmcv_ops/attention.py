"""Deformable attention over several feature maps (Zhu et al., Deformable DETR, ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from resnext_backbones.mmcv_ops.precision import gradients, widen

__all__ = ["ms_deform_attn_backward", "ms_deform_attn_forward"]


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Returns the attention's output, (N, queries, heads * channels).

    Args:
        value: (N, keys, heads, channels), all pixels of all levels, one level after another.
        value_spatial_shapes: (levels, 2), height and width.
        value_level_start_index: (levels,), which follows from the shapes.
        sampling_locations: (N, queries, heads, levels, points, 2), x and y from 0 to 1.
        attention_weights: (N, queries, heads, levels, points).
        im2col_step: images at a time in mmcv.
    """
    return _attend(value_spatial_shapes, value, sampling_locations, attention_weights).to(value)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fills in the gradients; else as the forward pass."""
    given = (value, sampling_locations, attention_weights)
    with torch.enable_grad():
        inputs = tuple(widen(each.detach()).requires_grad_() for each in given)
        output = _attend(value_spatial_shapes, *inputs)
        found = gradients(output, inputs, widen(grad_output))
    for gradient, each in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), found, strict=True
    ):
        gradient.copy_(each)


def _attend(shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # The sizes as numbers: one synchronisation with the GPU, not one a level.
    sizes = shapes.tolist()
    return multi_scale_deformable_attn_pytorch(
        widen(value), sizes, widen(locations), widen(weights)
    )
