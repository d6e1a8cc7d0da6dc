"""Focal losses (Lin et al., ICCV 2017) and their gradients in closed form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from resnext_backbones.mmcv_ops.precision import widen

__all__ = [
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
]


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills in the loss of each logit.

    Args:
        input: (N, C), logits.
        target: (N,), the class; a number outside 0 to C - 1 is no class, the background.
        weight: (C,) by the class of a row, background rows have 1; or without elements.
        output: (N, C), filled.
        gamma, alpha: of the paper's equation 5.
    """
    logits, positive = widen(input), _positive(input, target)
    p = logits.sigmoid()
    loss = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * F.logsigmoid(logits),
        -(1 - alpha) * p**gamma * F.logsigmoid(-logits),
    )
    output.copy_(loss * _row_weight(weight, target, input))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills in the gradient of each loss by its logit, `grad_input`, (N, C); else as above."""
    logits, positive = widen(input), _positive(input, target)
    p = logits.sigmoid()
    gradient = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * (1 - p - gamma * p * F.logsigmoid(logits)),
        -(1 - alpha) * p**gamma * (gamma * (1 - p) * F.logsigmoid(-logits) - p),
    )
    grad_input.copy_(gradient * _row_weight(weight, target, input))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fills in the loss of each row.

    Args:
        input: (N, C), probabilities.
        target: (N,), the class; a row with a negative number has no loss.
        weight: (C,) by the class of a row, or without elements.
        output: (N,), filled.
        gamma, alpha: of the paper's equation 5, with one alpha for all classes.
    """
    p, scale = _probability(input, target, weight)
    output.copy_(-alpha * (1 - p) ** gamma * p.log() * scale)


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fills in the gradient of each loss by its logits, `grad_input`, (N, C); else as above.

    Args:
        buff: (N,), filled with the part that the logits of a row share.
    """
    p, scale = _probability(input, target, weight)
    slope = gamma * (1 - p) ** (gamma - 1) * p * p.log() if gamma else 0
    shared = alpha * (slope - (1 - p) ** gamma) * scale
    buff.copy_(shared)
    grad_input.copy_(shared[:, None] * (_positive(input, target).to(p) - widen(input)))


def _positive(input: Tensor, target: Tensor) -> Tensor:
    """Returns whether a column is the class of its row, (N, C)."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def _row_weight(weight: Tensor, target: Tensor, input: Tensor) -> Tensor | float:
    """Returns the weight of each row, (N, 1)."""
    if not weight.numel():
        return 1.0
    known = (target >= 0) & (target < input.shape[1])
    return widen(weight)[target.where(known, 0)].where(known, 1)[:, None]


def _probability(input: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the probability of each row's class, (N,), and its weight, 0 for no class."""
    p = widen(input).gather(1, target.clamp(min=0)[:, None])[:, 0]
    scale = (target >= 0).to(p)
    if weight.numel():
        scale = scale * widen(weight)[target.clamp(min=0)]
    return p.clamp(min=torch.finfo(p.dtype).tiny), scale
