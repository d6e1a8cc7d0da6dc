"""Convolution where a mask says so, and masks of point-wise spatial attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["masked_col2im_forward", "masked_im2col_forward", "psamask_backward", "psamask_forward"]

COLLECT, DISTRIBUTE = 0, 1
"""mmcv's numbers for the two kinds of attention."""


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fills in what a convolution reads at some places.

    Args:
        im: (1, C, H, W).
        mask_h_idx, mask_w_idx: (M,), rows and columns of the output.
        col: (C * kernel_h * kernel_w, M), filled.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    columns = col.view(len(padded), kernel_h, kernel_w, -1)
    for i in range(kernel_h):
        for j in range(kernel_w):
            columns[:, i, j] = padded[:, mask_h_idx + i, mask_w_idx + j]


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Puts values, `col`, (C, M), at their rows and columns in `im`, (1, C, height, width)."""
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Spreads masks around each pixel to masks over the whole map (Zhao et al., PSANet, ECCV 2018).

    Args:
        input: (N, h_mask * w_mask, H, W).
        output: (N, H * W, H, W), filled. The second axis is the pixel that is looked at and the
            others the pixel that looks; the other way round where `psa_type` is 1.
    """
    place, there = _places(h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask)
    place, there = place.to(input.device), there.to(input.device)
    spread = input.flatten(2).gather(1, place.expand(num_, -1, -1)) * there
    spread = spread.transpose(1, 2) if psa_type == DISTRIBUTE else spread
    output.copy_(spread.reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fills in the gradient of the input; else as the forward pass."""
    place, there = _places(h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask)
    place, there = place.to(grad_output.device), there.to(grad_output.device)
    upstream = grad_output.flatten(2)
    upstream = upstream.transpose(1, 2) if psa_type == DISTRIBUTE else upstream
    gradient = grad_input.new_zeros(grad_input.flatten(2).shape)
    gradient.scatter_add_(1, place.expand(num_, -1, -1), (upstream * there).to(gradient))
    grad_input.copy_(gradient.view(grad_input.shape))


def _places(
    height: int, width: int, h_mask: int, w_mask: int, half_h_mask: int, half_w_mask: int
) -> tuple[Tensor, Tensor]:
    """Returns for each pixel (H * W) and each that looks (H * W) its place in the mask around that.

    Returns:
        The place, 0 where there is none, and whether there is one.
    """
    row, column = torch.arange(height), torch.arange(width)
    down = row[:, None] - row + half_h_mask
    across = column[:, None] - column + half_w_mask
    row_there = (down >= 0) & (down < h_mask)
    column_there = (across >= 0) & (across < w_mask)
    place = down[:, None, :, None] * w_mask + across[None, :, None, :]
    there = row_there[:, None, :, None] & column_there[None, :, None, :]
    pixels = height * width
    return (place * there).reshape(pixels, pixels), there.reshape(pixels, pixels)
