"""Which modules compute just what PyTorch's own do."""

from __future__ import annotations

from torch import nn


def is_plain(conv: nn.Module) -> bool:
    """Returns whether it computes just what `torch.nn.Conv2d` does, and nobody watches it."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and "_conv_forward" not in vars(conv)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and not is_watched(conv)
    )


def is_relu(module: nn.Module | None) -> bool:
    """Returns whether it computes just what `torch.nn.ReLU` does, and nobody watches it."""
    return (
        isinstance(module, nn.ReLU)
        and type(module).forward is nn.ReLU.forward
        and not is_watched(module)
    )


def is_watched(module: nn.Module) -> bool:
    """Returns whether it has hooks, or a `forward` that was put in the place of its own."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
    )
