"""A batch norm with frozen statistics, folded into the convolution before it.

In eval mode it is an affine map of each channel with constant statistics. So the two are

    norm(conv(x, w)) = conv(x, w * gamma / sigma) + beta - mu * gamma / sigma.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.compute.plain import is_plain, is_watched
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm

FOLDABLE_NORMS = (
    nn.BatchNorm2d.forward,
    nn.SyncBatchNorm.forward,
    SyncBatchNorm.forward,
    FrozenBatchNorm2d.forward,
)
"""A norm that folds has one of these as its `forward`: a subclass with its own may differ."""

TENSORS = nn.Parameter, Tensor, FakeTensor, type(None)
"""A weight that folds is one of these; None is computed from others. Other types have rules of
their own."""


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Returns whether the two are a plain convolution and a batch norm with frozen statistics."""
    return (
        is_plain(conv)
        and type(conv._parameters.get("weight")) in TENSORS
        and type(norm).forward in FOLDABLE_NORMS
        and not is_watched(norm)
        and all(_is_fixed(norm, name) for name in ("running_mean", "running_var"))
        and (isinstance(norm, FrozenBatchNorm2d) or not norm.training)
    )


def _is_fixed(norm: nn.Module, name: str) -> bool:
    statistics = norm._buffers.get(name)
    return statistics is not None and not statistics.requires_grad


class Folding(NamedTuple):
    """Holds what the weight and the bias of the one convolution are computed from."""

    weight: Tensor
    conv_bias: Tensor | None
    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    var: Tensor
    eps: float

    @classmethod
    def of(cls, conv: Any, norm: Any) -> Folding:
        """Returns that of a pair for which `can_fold` holds."""
        statistics = norm.running_mean, norm.running_var
        return cls(conv.weight, conv.bias, norm.weight, norm.bias, *statistics, norm.eps)

    def fold(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns weight (C_out, C_in / groups, kH, kW) and bias (C_out,).

        They are computed in float32 or wider, and rounded once.
        """
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        scale = torch.rsqrt(self.var.to(wide) + self.eps)
        if self.gamma is not None:
            scale = scale * self.gamma
        shift = -self.mean if self.conv_bias is None else self.conv_bias - self.mean
        bias = shift * scale if self.beta is None else shift * scale + self.beta
        weight = self.weight * scale.reshape(-1, 1, 1, 1)
        return weight.to(dtype), bias.to(dtype)

    def tensors(self) -> list[Tensor]:
        """Returns those that there are."""
        return [value for value in self if isinstance(value, Tensor)]
