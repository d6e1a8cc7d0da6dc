"""Triton's kernels compute what surrounds a folded convolution.

Everything is computed in float32 and rounded once. No number is chosen at run time, so the same
input gives the same output.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["channels", "pixels"])
def fold(
    weight_ptr, conv_bias_ptr, gamma_ptr, beta_ptr, mean_ptr, var_ptr, eps,
    folded_ptr, bias_ptr, values, channels, pixels, LAST: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    """Folds a row of the weight, with which a channel of the output is computed.

    The folded row has its channels last in memory. So has the weight's, or its pixels are last.
    """
    row = tl.program_id(0)
    scale = tl.rsqrt(tl.load(var_ptr + row).to(tl.float32) + eps)
    if gamma_ptr is not None:
        scale *= tl.load(gamma_ptr + row).to(tl.float32)
    shift = -tl.load(mean_ptr + row).to(tl.float32)
    if conv_bias_ptr is not None:
        shift += tl.load(conv_bias_ptr + row).to(tl.float32)
    bias = shift * scale
    if beta_ptr is not None:
        bias += tl.load(beta_ptr + row).to(tl.float32)
    tl.store(bias_ptr + row, bias)
    for start in range(0, values, VALUES):
        place = start + tl.arange(0, VALUES)
        at = row * values + place
        own = at if LAST else row * values + place % channels * pixels + place // channels
        weight = tl.load(weight_ptr + own, mask=place < values).to(tl.float32)
        tl.store(folded_ptr + at, (weight * scale).to(folded_ptr.dtype.element_ty), place < values)


@triton.jit(do_not_specialize=["parts", "channels", "pixels"])
def unfold(
    weight_ptr, conv_bias_ptr, gamma_ptr, mean_ptr, var_ptr, eps,
    grad_ptr, sums_ptr, parts,
    weight_grad_ptr, conv_bias_grad_ptr, gamma_grad_ptr, beta_grad_ptr,
    values, channels, pixels, LAST: tl.constexpr, VALUES: tl.constexpr,
):  # fmt: skip
    """Turns the gradients of a folded row and of its bias into those of what was folded.

    The gradient of the folded row has its channels last, that of the weight lies as the weight.
    """
    row = tl.program_id(0)
    inverse = tl.rsqrt(tl.load(var_ptr + row).to(tl.float32) + eps)
    scale = inverse
    if gamma_ptr is not None:
        scale *= tl.load(gamma_ptr + row).to(tl.float32)
    total = tl.full((VALUES,), 0.0, tl.float32)
    if grad_ptr is not None:
        for start in range(0, values, VALUES):
            place = start + tl.arange(0, VALUES)
            at = row * values + place
            grad = tl.load(grad_ptr + at, mask=place < values, other=0.0).to(tl.float32)
            own = at if LAST else row * values + place % channels * pixels + place // channels
            if weight_grad_ptr is not None:
                element = weight_grad_ptr.dtype.element_ty
                tl.store(weight_grad_ptr + own, (grad * scale).to(element), mask=place < values)
            weight = tl.load(weight_ptr + own, mask=place < values, other=0.0).to(tl.float32)
            total += grad * weight
    bias_total = tl.full((VALUES,), 0.0, tl.float32)
    for start in range(0, parts, VALUES):
        part = start + tl.arange(0, VALUES)
        at = part * tl.num_programs(0) + row
        bias_total += tl.load(sums_ptr + at, mask=part < parts, other=0.0)
    bias_grad = tl.sum(bias_total, 0)
    if conv_bias_grad_ptr is not None:
        grad = bias_grad * scale
        tl.store(conv_bias_grad_ptr + row, grad.to(conv_bias_grad_ptr.dtype.element_ty))
    if gamma_grad_ptr is not None:
        shift = -tl.load(mean_ptr + row).to(tl.float32)
        if conv_bias_ptr is not None:
            shift += tl.load(conv_bias_ptr + row).to(tl.float32)
        grad = (tl.sum(total, 0) + shift * bias_grad) * inverse
        tl.store(gamma_grad_ptr + row, grad.to(gamma_grad_ptr.dtype.element_ty))
    if beta_grad_ptr is not None:
        tl.store(beta_grad_ptr + row, bias_grad.to(beta_grad_ptr.dtype.element_ty))


# Of sizes, which change with every image, nothing is made a constant: no new compilation.
@triton.jit(do_not_specialize=["pixels"])
def finish(
    y_ptr, bias_ptr, shortcut_ptr, pixels, channels,
    RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    at = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    within = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    value = tl.load(y_ptr + at, mask=within, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + channel, mask=channel < channels, other=0.0)
        value += bias.to(tl.float32)[None, :]
    if shortcut_ptr is not None:
        value += tl.load(shortcut_ptr + at, mask=within, other=0.0).to(tl.float32)
    if RELU:
        value = tl.where(value < 0, 0.0, value)  # which a NaN passes, as in PyTorch
    tl.store(y_ptr + at, value.to(y_ptr.dtype.element_ty), mask=within)


@triton.jit(do_not_specialize=["pixels"])
def finish_backward(
    grad_ptr, y_ptr, masked_ptr, sums_ptr, pixels, channels,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.full((PIXELS, CHANNELS), 0.0, tl.float32)
    for start in range(part * PIXELS, pixels, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        at = pixel.to(tl.int64)[:, None] * channels + channel[None, :]
        within = (pixel < pixels)[:, None] & (channel < channels)[None, :]
        grad = tl.load(grad_ptr + at, mask=within, other=0.0)
        if y_ptr is not None:
            grad = tl.where(tl.load(y_ptr + at, mask=within, other=0.0) <= 0, 0.0, grad)
            tl.store(masked_ptr + at, grad.to(masked_ptr.dtype.element_ty), mask=within)
        total += grad.to(tl.float32)
    tl.store(sums_ptr + part * channels + channel, tl.sum(total, 0), mask=channel < channels)
