"""1x1 convolutions by oneDNN, where PyTorch passes it by.

With one thread PyTorch unfolds the input of a 1x1 convolution of float32 and multiplies matrices,
unless the kernel is dilated (`use_mkldnn` in ATen/native/Convolution.cpp). Its one pixel has
nowhere to go, so a dilated one computes the same. torchrun gives each process one thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import grouped_conv2d, grouped_gradients


def is_there(device: str, dtype: torch.dtype) -> bool:
    """Returns whether oneDNN computes convolutions of a type that PyTorch may not give it."""
    backend = torch.backends.mkldnn
    is_on = backend.is_available() and bool(backend.enabled)
    return is_on and device == "cpu" and dtype == torch.float32


def is_passed_by() -> bool:
    """Returns whether PyTorch does not give it 1x1 convolutions now."""
    return torch.get_num_threads() == 1


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Returns the convolution of `x`, (N, C_in, H, W): (N, C_out, H, W)."""
    return grouped_conv2d(x, weight, bias, _dilated(geometry))


def pointwise_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needed: Sequence[bool],
    onto: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns those gradients of `x`, `weight` and bias that are needed."""
    return grouped_gradients(grad, x, weight, _dilated(geometry), needed, onto)


def _dilated(geometry: Geometry) -> Geometry:
    return geometry._replace(dilation=(2, 2))
