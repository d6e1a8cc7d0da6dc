"""Grouped convolutions in Triton, for GPUs.

A tile is some pixels by some channels, which are those of several groups. The weight of a tile is
block-diagonal, as in `grouped.merge_groups`, but is put together in registers: the canonical
weight is all that is read, and all that the gradient of the weight writes. Everything is
channels_last. No number is chosen at run time, so that the same input gives the same output.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from resnext_backbones.compute.geometry import Geometry

PIXELS = 128
"""Of a tile."""

PROGRAMS = 1024
"""That the gradient of the weight is divided among, as far as there are pixels: each sums some of
them up on its own. The largest GPUs have 132 multiprocessors, of a few programs each; more of them
would write more sums than there are activations to read."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, tile_groups: int
) -> Tensor:
    """The convolution of `compute.grouped.grouped_conv2d`, computed tile by tile."""
    sizes = [
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, pad, dilation in zip(
            x.shape[2:], weight.shape[2:], *geometry[:3], strict=True
        )
    ]
    return _launch(x, weight, bias, geometry, tile_groups, sizes, transposed=False)


def grad_input(
    grad: Tensor, weight: Tensor, geometry: Geometry, tile_groups: int, size: list[int]
) -> Tensor:
    """The gradient of the input, whose height and width `size` gives."""
    return _launch(grad, weight, None, geometry, tile_groups, size, transposed=True)


def grad_weight(
    grad: Tensor, x: Tensor, kernel: list[int], geometry: Geometry, tile_groups: int
) -> Tensor:
    """The gradient of the weight, in float32: (C, C / groups, kH, kW)."""
    grad, x = (t.contiguous(memory_format=torch.channels_last) for t in (grad, x))
    channels, *size = x.shape[1:]
    pixels = grad.numel() // channels
    group = channels // geometry.groups
    tile = group * tile_groups
    tiles = triton.cdiv(channels, tile) * kernel[0] * kernel[1]
    splits = min(triton.cdiv(PROGRAMS, tiles), triton.cdiv(pixels, PIXELS))
    partial = x.new_empty(splits, channels, *kernel, group, dtype=torch.float32)
    with torch.cuda.device_of(x):
        _grad_weight[tiles * splits,](
            grad,
            x,
            partial,
            pixels,
            *grad.shape[2:],
            *size,
            channels,
            splits,
            *_constants(kernel, geometry),
            GROUP=group,
            TILE=tile,
            PIXELS=PIXELS,
            PRECISION=_precision(),
        )
    return partial.sum(0).movedim(-1, 1)


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    tile_groups: int,
    size: list[int],
    *,
    transposed: bool,
) -> Tensor:
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    channels, group, *kernel = weight.shape
    tile = group * tile_groups
    y = torch.empty(
        len(x),
        channels,
        *size,
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    pixels = y.numel() // channels
    with torch.cuda.device_of(x):  # a kernel goes to the current device, wherever its tensors are
        _convolve[triton.cdiv(pixels, PIXELS) * triton.cdiv(channels, tile),](
            x,
            weight,
            weight if bias is None else bias.contiguous(),
            y,
            pixels,
            *size,
            *x.shape[2:],
            channels,
            *_constants(kernel, geometry),
            GROUP=group,
            TILE=tile,
            PIXELS=PIXELS,
            HAS_BIAS=bias is not None,
            TRANSPOSED=transposed,
            PRECISION=_precision(),
        )
    return y


def _constants(kernel: list[int], geometry: Geometry) -> tuple[int, ...]:
    return *kernel, *geometry.stride, *geometry.padding, *geometry.dilation


def _precision() -> str:
    """Of products of float32, as PyTorch's own convolutions are asked to have it."""
    setting = getattr(torch.backends.cudnn, "conv", None)  # of PyTorch 2.9; the older one may raise
    if setting is None:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    return "tf32" if setting.fp32_precision == "tf32" else "ieee"


# Of sizes, which change with every image, nothing is made a constant: no new compilation.
@triton.jit(do_not_specialize=["pixels", "y_height", "y_width", "x_height", "x_width"])
def _convolve(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    pixels,
    y_height,
    y_width,
    x_height,
    x_width,
    channels,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    PADDING_H: tl.constexpr,
    PADDING_W: tl.constexpr,
    DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    PIXELS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A tile of y; transposed it is the gradient of the input, with x the upstream gradient."""
    # Programs side by side share the pixels, whose channels lie side by side in memory.
    tiles = (channels + TILE - 1) // TILE
    pixel = tl.program_id(0) // tiles * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(0) % tiles * TILE + tl.arange(0, TILE)
    column = pixel % y_width
    row = pixel // y_width % y_height
    image = pixel // y_width // y_height
    same_group = (channel // GROUP)[:, None] == (channel // GROUP)[None, :]
    within = channel < channels
    total = tl.full((PIXELS, TILE), 0.0, tl.float32)
    for tap in range(KERNEL_H * KERNEL_W):
        tap_y = tap // KERNEL_W
        tap_x = tap % KERNEL_W
        if TRANSPOSED:
            far_y = row + PADDING_H - tap_y * DILATION_H
            far_x = column + PADDING_W - tap_x * DILATION_W
            meets = (far_y >= 0) & (far_x >= 0) & (far_y % STRIDE_H == 0) & (far_x % STRIDE_W == 0)
            from_y = far_y // STRIDE_H
            from_x = far_x // STRIDE_W
            # Rows of the weight are what is summed over, columns what comes out.
            outer, inner = channel[:, None], channel[None, :] % GROUP
        else:
            from_y = row * STRIDE_H - PADDING_H + tap_y * DILATION_H
            from_x = column * STRIDE_W - PADDING_W + tap_x * DILATION_W
            meets = (from_y >= 0) & (from_x >= 0)
            outer, inner = channel[None, :], channel[:, None] % GROUP
        meets = meets & (from_y < x_height) & (from_x < x_width) & (pixel < pixels)
        place = ((image.to(tl.int64) * x_height + from_y) * x_width + from_x) * channels
        values = tl.load(
            x_ptr + place[:, None] + channel[None, :],
            mask=meets[:, None] & within[None, :],
            other=0.0,
        )
        weight = tl.load(
            weight_ptr + (outer * (KERNEL_H * KERNEL_W) + tap) * GROUP + inner,
            mask=same_group & within[:, None],
            other=0.0,
        )
        total = tl.dot(values, weight, total, input_precision=PRECISION)
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    tl.store(
        y_ptr + pixel.to(tl.int64)[:, None] * channels + channel[None, :],
        total.to(y_ptr.dtype.element_ty),
        mask=(pixel < pixels)[:, None] & within[None, :],
    )


@triton.jit(
    do_not_specialize=["pixels", "grad_height", "grad_width", "x_height", "x_width", "splits"]
)
def _grad_weight(
    grad_ptr,
    x_ptr,
    partial_ptr,
    pixels,
    grad_height,
    grad_width,
    x_height,
    x_width,
    channels,
    splits,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    PADDING_H: tl.constexpr,
    PADDING_W: tl.constexpr,
    DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    PIXELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """What a part of the pixels gives to one place of the kernel, in the channels of a tile."""
    taps = KERNEL_H * KERNEL_W
    tiles = (channels + TILE - 1) // TILE
    channel = tl.program_id(0) % tiles * TILE + tl.arange(0, TILE)
    tap = tl.program_id(0) // tiles % taps
    part = tl.program_id(0) // tiles // taps
    within = channel < channels
    total = tl.full((TILE, TILE), 0.0, tl.float32)
    for start in range(part * PIXELS, pixels, splits * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        column = pixel % grad_width
        row = pixel // grad_width % grad_height
        image = pixel // grad_width // grad_height
        from_y = row * STRIDE_H - PADDING_H + tap // KERNEL_W * DILATION_H
        from_x = column * STRIDE_W - PADDING_W + tap % KERNEL_W * DILATION_W
        meets = (from_y >= 0) & (from_x >= 0) & (from_y < x_height) & (from_x < x_width)
        place = ((image.to(tl.int64) * x_height + from_y) * x_width + from_x) * channels
        # Transposed where it is loaded: channels of the input by pixels.
        values = tl.load(
            x_ptr + place[None, :] + channel[:, None],
            mask=(meets & (pixel < pixels))[None, :] & within[:, None],
            other=0.0,
        )
        upstream = tl.load(
            grad_ptr + pixel.to(tl.int64)[:, None] * channels + channel[None, :],
            mask=(pixel < pixels)[:, None] & within[None, :],
            other=0.0,
        )
        total = tl.dot(values, upstream, total, input_precision=PRECISION)
    outer, inner = channel[None, :], channel[:, None] % GROUP
    place = ((part * channels + outer) * taps + tap) * GROUP + inner
    same_group = (channel // GROUP)[:, None] == (channel // GROUP)[None, :]
    tl.store(partial_ptr + place, total, mask=same_group & within[:, None])
