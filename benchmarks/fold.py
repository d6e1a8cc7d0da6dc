"""Folds the norms of a peer's network into its convolutions, as its users do for inference."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> nn.Module:
    """Puts a convolution with a bias in the place of each convolution and its norm.

    A norm belongs to the convolution that its module has just before it, or is held by the
    convolution itself, as Detectron2 has it. What is compared before the clock runs would show a
    norm that was folded into another one.

    Args:
        network: in evaluation mode; it is changed.
    """
    for parent in list(network.modules()):
        conv: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                conv = name, child
                norm: Any = getattr(child, "norm", None)
                if isinstance(norm, nn.Module):
                    folded: Any = fuse_conv_bn_eval(child, cast(_BatchNorm, norm))
                    folded.norm = None
                    setattr(parent, name, folded)
            elif isinstance(child, _BatchNorm) and conv is not None:
                setattr(parent, conv[0], fuse_conv_bn_eval(conv[1], child))
                setattr(parent, name, nn.Identity())
                conv = None
    return network
