"""One convolution with a bias for inference, in the place of a convolution and a norm."""

from __future__ import annotations

import torch
from torch import nn

from resnext_backbones.compute.folding import Folding, can_fold
from resnext_backbones.compute.geometry import Geometry


def fuse_(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    """Puts one convolution with a bias in the place of two submodules; it is not for training.

    Raises:
        ValueError: they cannot be folded.
    """
    conv, norm = owner.get_submodule(conv_name), owner.get_submodule(norm_name)
    if not can_fold(conv, norm):
        raise ValueError(
            f"{conv_name}, {norm_name}: {type(conv).__name__} and {type(norm).__name__} cannot be "
            "fused; it takes a plain Conv2d and a batch norm with statistics, without hooks"
        )
    assert isinstance(conv, nn.Conv2d)
    fused = nn.utils.skip_init(
        nn.Conv2d,
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        **Geometry.of(conv)._asdict(),
        device=conv.weight.device,
    )
    with torch.no_grad():
        weight, bias = Folding.of(conv, norm).fold(conv.weight.dtype)
    fused.weight = nn.Parameter(weight, requires_grad=False)
    fused.bias = nn.Parameter(bias, requires_grad=False)
    setattr(owner, conv_name, fused.eval())
    setattr(owner, norm_name, nn.Identity())
