"""The steps of mmcv's synchronised batch normalisation, over (N, C, pixels)."""

from __future__ import annotations

from torch import Tensor

__all__ = [
    "sync_bn_backward_data",
    "sync_bn_backward_param",
    "sync_bn_forward_mean",
    "sync_bn_forward_output",
    "sync_bn_forward_var",
]


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fills in the mean of each channel, (C,), in float32."""
    mean.copy_(input.float().mean((0, 2)))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fills in the mean squared distance of each channel to `mean`, (C,), in float32."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Fills in the normalised input, and moves the running statistics.

    Args:
        input: (N, C, pixels).
        mean, var: (C,), of all processes.
        weight, bias, running_mean, running_var: (C,), or None.
        norm: as `input`, filled with the input before weight and bias, in float32.
        std: (C,), filled.
        output: as `input`, filled.
        group_size: how many processes there are; the running variance is the unbiased one.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    affine = norm if weight is None else norm * weight[:, None]
    output.copy_(affine if bias is None else affine + bias[:, None])
    if running_mean is not None and running_var is not None:
        count = input.numel() // len(mean) * group_size
        unbiased = var * (count / (count - 1) if count > 1 else 1)
        running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
        running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


def sync_bn_backward_param(
    grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor
) -> None:
    """Fills in the gradients of weight and bias, (C,)."""
    upstream = grad_output.float()
    grad_weight.copy_((upstream * norm).sum((0, 2)))
    grad_bias.copy_(upstream.sum((0, 2)))


def sync_bn_backward_data(
    grad_output: Tensor,
    weight: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    norm: Tensor,
    std: Tensor,
    grad_input: Tensor,
) -> None:
    """Fills in the gradient of the input; the gradients of the parameters are of all processes."""
    count = norm.numel() // len(std)
    shared = (grad_weight[:, None] * norm + grad_bias[:, None]) / count
    grad_input.copy_(weight[:, None] * (grad_output.float() - shared) / std[:, None])
