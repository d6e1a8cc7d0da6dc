"""The precision in which operators compute."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def widen(tensor: Tensor) -> Tensor:
    """Returns half precision as float32, for which every device has every kernel."""
    return tensor.float() if tensor.dtype in HALF else tensor


def gradients(outputs: Tensor, inputs: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, ...]:
    """Returns the gradients of what has just been computed again, zero where it does not depend."""
    return torch.autograd.grad(outputs, inputs, upstream, allow_unused=True, materialize_grads=True)
