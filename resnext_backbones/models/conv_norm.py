"""Convolution and normalisation as one step.

A batch norm in eval mode is an affine map of each channel with constant statistics. Behind a
convolution it is folded into the weight,

    norm(conv(x, w)) = conv(x, w * gamma / sigma) + beta - mu * gamma / sigma,

which saves the norm's pass over the activations (cuDNN leaves that of the bias), and its input,
which it would keep for the backward pass. The gradients of w, gamma and beta are those of this
expression.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.models.convolution import conv2d, conv2d_backward
from resnext_backbones.models.geometry import Geometry
from resnext_backbones.models.kept import is_kept, kept
from resnext_backbones.models.sync import SyncBatchNorm

FOLDABLE_NORMS = (
    nn.BatchNorm2d.forward,
    nn.SyncBatchNorm.forward,
    SyncBatchNorm.forward,
    FrozenBatchNorm2d.forward,
)
"""What a norm's `forward` must be: a subclass with one of its own computes something else."""


class Steps(nn.Sequential):
    """A sequence in which each convolution and the norm behind it are one step.

    Args:
        modules: in order.
        fold: as of `conv_norm`.
    """

    def __init__(self, *modules: nn.Module, fold: bool = True) -> None:
        super().__init__(*modules)
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, H', W')."""
        modules = list(self)
        while modules:
            module = modules.pop(0)
            if isinstance(module, nn.Conv2d):
                x = conv_norm(x, module, modules.pop(0), fold=self.fold)
            else:
                x = call(module, x)
        return x

    def fuse_(self) -> None:
        """Put one convolution in the place of each pair."""
        for first, second in pairwise(list(self._modules)):
            if isinstance(self.get_submodule(first), nn.Conv2d):
                fuse_(self, first, second)


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module, *, fold: bool = True) -> Tensor:
    """`norm(conv(x))`, as one convolution where the statistics of the norm are frozen.

    Args:
        x: (N, C_in, H, W).
        conv, norm: called as modules where they are anything but a plain convolution and a batch
            norm in eval mode, and where one of them has hooks.
        fold: False computes the norm on its own in any case.
    """
    if not fold or not can_fold(conv, norm):
        return call(norm, convolve(x, conv))
    assert isinstance(conv, nn.Conv2d)
    x = _autocast(x)
    folding = Folding.of(conv, norm)
    geometry = Geometry.of(conv)
    # A tracer sees through the folding, and a compiler repeats it in the backward pass by itself.
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if not traced and is_kept(conv) and not folding.is_trained():
        return conv2d(x, *kept(conv, folding, x.dtype), geometry)
    if traced or not torch.is_grad_enabled():
        return conv2d(x, *folding.fold(x.dtype), geometry)
    return _FoldedConv.apply(x, geometry, *folding)


def convolve(x: Tensor, conv: nn.Module) -> Tensor:
    """`conv(x)`; what is not a plain convolution is called as a module."""
    if not is_plain(conv):
        return call(conv, x)
    assert isinstance(conv, nn.Conv2d)
    bias = None if conv.bias is None else _autocast(conv.bias)
    return conv2d(_autocast(x), _autocast(conv.weight), bias, Geometry.of(conv))


def call(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)`, in NCHW order where the module is none of PyTorch's.

    Operators of other libraries, such as mmcv's, read memory as NCHW whatever the tensor says.
    """
    if type(module).__module__.startswith(("torch.", "torchvision.")):
        return module(x)
    y = module(x.contiguous())
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return y.contiguous(memory_format=torch.channels_last) if channels_last else y


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the two are a plain convolution and a batch norm with frozen statistics."""
    return (
        is_plain(conv)
        and type(norm).forward in FOLDABLE_NORMS
        and not _is_watched(norm)
        and norm.running_mean is not None
        and (isinstance(norm, FrozenBatchNorm2d) or not norm.training)
    )


def fuse_(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    """Put one convolution with a bias in the place of two submodules; it is not for training.

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


class Folding(NamedTuple):
    """What the weight and the bias of the one convolution are computed from."""

    weight: Tensor
    conv_bias: Tensor | None
    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    var: Tensor
    eps: float

    @classmethod
    def of(cls, conv: nn.Conv2d, norm: Any) -> Folding:
        """That of a pair for which `can_fold` holds."""
        statistics = norm.running_mean, norm.running_var
        return cls(conv.weight, conv.bias, norm.weight, norm.bias, *statistics, norm.eps)

    def fold(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weight (C_out, C_in / groups, kH, kW) and bias (C_out,), computed in float32 or wider."""
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        scale = torch.rsqrt(self.var.to(wide) + self.eps)
        if self.gamma is not None:
            scale = scale * self.gamma
        shift = -self.mean if self.conv_bias is None else self.conv_bias - self.mean
        bias = shift * scale if self.beta is None else shift * scale + self.beta
        weight = self.weight * scale.reshape(-1, 1, 1, 1)
        return weight.to(dtype), bias.to(dtype)

    def tensors(self) -> list[Tensor]:
        """Those that there are."""
        return [value for value in self if isinstance(value, Tensor)]

    def is_trained(self) -> bool:
        """Whether a gradient is wanted."""
        return any(tensor.requires_grad for tensor in self.tensors())


class _FoldedConv(torch.autograd.Function):
    """The one convolution. It keeps its input, and folds again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, geometry: Geometry, *folding: Any) -> Tensor:
        *tensors, eps = folding
        ctx.save_for_backward(x, *tensors)
        ctx.geometry, ctx.eps = geometry, eps
        return conv2d(x, *Folding(*folding).fold(x.dtype), geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        x_needed, _, *needed, _ = ctx.needs_input_grad
        leaves: list[Any] = [
            tensor if tensor is None else tensor.detach().requires_grad_(need)
            for tensor, need in zip(tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            weight, bias = Folding(*[*leaves, ctx.eps]).fold(x.dtype)
        wanted = x_needed, weight.requires_grad, bias.requires_grad
        grad_x, *grads = conv2d_backward(grad, x, weight.detach(), ctx.geometry, wanted)
        # A backend may return a gradient that nobody asked for.
        pairs = zip((weight, bias), grads, strict=True)
        outputs, given = zip(*((out, g) for out, g in pairs if out.requires_grad), strict=True)
        inputs = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
        found = iter(torch.autograd.grad(outputs, inputs, given))
        return grad_x, None, *(next(found) if need else None for need in needed), None


def is_plain(conv: nn.Module) -> bool:
    """Whether the module computes just what `torch.nn.Conv2d` does, and nobody watches it."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and not _is_watched(conv)
    )


def _is_watched(module: nn.Module) -> bool:
    """Whether it has hooks, or a `forward` that was put in the place of its own."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
    )


def _autocast(tensor: Tensor) -> Tensor:
    """As autocast would give it to a convolution."""
    device = tensor.device.type
    if device == "meta":  # which autocast does not know
        return tensor
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return tensor.to(torch.get_autocast_dtype(device))
    return tensor
