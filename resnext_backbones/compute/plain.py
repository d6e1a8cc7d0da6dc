"""Which modules compute just what PyTorch's own do, and who looks at what they compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active, _len_torch_function_stack
from torch._C._functorch import is_legacy_batchedtensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.fx import Proxy
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import _has_any_global_hook
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torchvision.ops import DropBlock2d, StochasticDepth

# As PyTorch has them: a tool that puts its own in their place wants to see every call.
_CALL = nn.Module.__call__
_CONV = nn.Conv2d.forward, nn.Conv2d._conv_forward
_FORWARD: dict[type[nn.Module], Any] = {kind: kind.forward for kind in (nn.ReLU, nn.SiLU)}
_DRAWING = (
    _DropoutNd, StochasticDepth, DropBlock2d, nn.RReLU, nn.FractionalMaxPool2d, nn.RNNBase,
    nn.MultiheadAttention,
)  # fmt: skip
_FUNCTIONS = F.conv2d, F.batch_norm, F.relu, F.silu


def is_observed(x: Any) -> bool:
    """Returns whether somebody follows what is made of `x`, by modules or by operators.

    Then modules are called one after the other, as those of any network, and nothing is folded:

    - FX traces symbols, and profilers of other libraries replace `Module.__call__` or functions;
    - `torch.jit.trace` and `torch.export` record operators, for runtimes that fold by themselves;
    - `torch.func` and forward mode transform them, which have rules for PyTorch's own;
    - tensors of other types (distributed, masked) and function modes have operators of their own;
    - hooks of all modules are called for each.

    A compiler follows too, but repeats by itself what the backward pass needs. What only counts
    operators or memory (dispatch modes, fake tensors) is to see what is really computed.
    """
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting() or _has_any_global_hook()
    return bool(
        (type(x) is not Tensor and type(x) is not FakeTensor)
        or torch.jit.is_tracing()
        or is_transformed()
        or (_len_torch_function_stack() and _has_function_mode())
        or _has_any_global_hook()
        or nn.Module.__call__ is not _CALL
        or (F.conv2d, F.batch_norm, F.relu, F.silu) != _FUNCTIONS
    )


def is_transformed() -> bool:
    """Returns whether `torch.func` or forward mode transforms what is computed now."""
    return forward_ad._current_level >= 0 or _are_functorch_transforms_active()


def is_batched(gradient: Tensor) -> bool:
    """Returns whether it stands for several, as with `torch.autograd.grad(is_grads_batched=True)`:
    PyTorch's own operators alone compute with these.
    """
    return is_legacy_batchedtensor(gradient)


def is_traced(x: Any) -> bool:
    """Returns whether a tracer looks at `x`, to which conditions on its shape would be unseen."""
    return isinstance(x, Proxy) or torch.jit.is_tracing()


def has_memory_format(x: Any) -> bool:
    """Returns whether `x` may be asked for the order of its values in memory."""
    return not isinstance(x, Proxy) and not _are_functorch_transforms_active()


def is_plain(conv: nn.Module) -> bool:
    """Returns whether it computes just what `torch.nn.Conv2d` does, and nobody watches it."""
    return (
        isinstance(conv, nn.Conv2d)
        and (type(conv).forward, type(conv)._conv_forward) == _CONV
        and not _has_its_own(conv, "_conv_forward")
        and conv.padding_mode == "zeros"
        and type(conv.stride) is type(conv.padding) is type(conv.dilation) is tuple
        and not is_watched(conv)
    )


def is_known(module: nn.Module) -> bool:
    """Returns whether a module's class is PyTorch's, torchvision's or this package's."""
    return type(module).__module__.startswith(("torch.", "torchvision.", "resnext_backbones."))


def draws(module: nn.Module) -> bool:
    """Returns whether a module of PyTorch's or torchvision's draws at random."""
    share = getattr(module, "p", getattr(module, "dropout", 1))
    trains = module.training or isinstance(module, nn.FractionalMaxPool2d)  # which always draws
    return trains and isinstance(module, _DRAWING) and share != 0


def computes_just(module: nn.Module | None, kind: type[nn.Module]) -> bool:
    """Returns whether it computes just what an activation of PyTorch does, and nobody watches it.

    Args:
        kind: `torch.nn.ReLU` or `torch.nn.SiLU`.
    """
    return (
        isinstance(module, kind)
        and type(module).forward is _FORWARD[kind]
        and not is_watched(module)
    )


def is_watched(module: nn.Module) -> bool:
    """Returns whether it has hooks, or a `forward` that was put in the place of its own."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or _has_its_own(module, "forward")
        or type(module).__call__ is not _CALL
        or module._compiled_call_impl is not None
    )


def _has_its_own(module: nn.Module, name: str) -> bool:
    """Tells whether something was put on the module itself in the place of its class's."""
    if torch.compiler.is_compiling():  # which looks again at what was walked, not at what was asked
        return any(key == name for key in vars(module))
    return name in vars(module)


def _has_function_mode() -> bool:
    # `torch.set_default_device` is one, which changes nothing that is computed.
    return any(type(mode) is not DeviceContext for mode in _get_current_function_mode_stack())
