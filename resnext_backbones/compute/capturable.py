"""CUDA graphs can hold some networks, and stay right while these stay as they are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.compute import ways
from resnext_backbones.compute.folding import FOLDABLE_NORMS
from resnext_backbones.compute.kept import has_hooks
from resnext_backbones.compute.plain import draws, is_known, is_observed, is_watched

PRECISIONS = (
    "cudnn.allow_tf32",
    "cuda.matmul.allow_tf32",
    "fp32_precision",
    "cudnn.fp32_precision",
    "cudnn.conv.fp32_precision",
    "cuda.matmul.fp32_precision",
)
"""These settings of `torch.backends` say how float32 is multiplied."""

OWN_TENSORS = "_parameters", "_buffers", "_modules"

SIMPLE = frozenset([int, float, bool, str, type(None)])


class State(NamedTuple):
    """Holds what a network's kernels depend on, beside the images."""

    unfit: str
    """Why it cannot be captured, as words behind "it"; "" if it can."""
    settings: Hashable
    parameters: list[Tensor]


def state_of(network: Any) -> State:
    """Returns the state of a network in one walk, since every step asks."""
    if reason := _unfit_as_a_whole(network):
        return State(reason, None, [])
    state: list[Any] = []
    parameters: list[Tensor] = []
    modules = [network]
    for module in modules:  # which grows
        if reason := _unfit(module, is_root=module is network):
            where = next(name for name, other in network.named_modules() if other is module)
            return State(f"{reason}: {where or type(network).__name__}", None, [])
        state += (type(module), *module._modules)
        state += [
            value if type(value) in SIMPLE else _frozen(value)
            for name, value in vars(module).items()
            if name not in OWN_TENSORS and "hook" not in name
        ]
        own = [p for p in module._parameters.values() if p is not None]
        for tensor in (*own, *module._buffers.values()):
            state += (None,) if tensor is None else _place(tensor)
        parameters += own
        modules += [child for child in module._modules.values() if child is not None]
    return State("", tuple(state), parameters)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    order = tensor.shape, tensor.stride(), tensor.dtype
    return tensor.data_ptr(), tensor.requires_grad, *order


def _frozen(value: Any) -> Hashable:
    """Returns an attribute's value so that it can be compared later; of what neither is a setting
    nor is called, nothing.
    """
    if type(value) in SIMPLE:
        return value
    if isinstance(value, tuple | list | set | frozenset):
        return type(value), *map(_frozen, sorted(value) if isinstance(value, set) else value)
    if isinstance(value, Mapping):
        return tuple((key, _frozen(each)) for key, each in value.items())
    return value if callable(value) and isinstance(value, Hashable) else None


def _unfit_as_a_whole(network: Any) -> str:
    if getattr(network, "_is_replica", False):
        return "is a replica of DataParallel's; take DistributedDataParallel"
    if any(kind.__name__ == "FSDPModule" for kind in type(network).__mro__):
        return "is sharded"
    return "computes blocks again (recompute)" if network.recompute else ""


def _unfit(module: nn.Module, *, is_root: bool) -> str:
    kind: Any = type(module)
    if not is_root and is_watched(module):
        return "has hooks on a module"
    if not is_known(module) and kind.forward not in FOLDABLE_NORMS:
        return f"has a {kind.__module__}.{kind.__qualname__}, which is not known"
    if module.training and isinstance(module, _BatchNorm):
        return "has norms in training mode, which norm_eval=True would keep from it"
    if draws(module):
        return "draws at random"
    return next(_odd(module), "")


def _odd(module: nn.Module) -> Iterator[str]:
    """Yields what is unusual in tensors."""
    for parameter in module._parameters.values():
        if parameter is not None and (type(parameter) is not nn.Parameter or not parameter.is_leaf):
            yield f"has a parameter that is a {type(parameter).__name__}"
    for buffer in module._buffers.values():
        if type(buffer) not in (Tensor, type(None)):
            yield f"has a buffer that is a {type(buffer).__name__}"


def is_ordinary(images: Tensor) -> bool:
    """Returns whether images are on a GPU, and nobody looks at what computes on them."""
    return not (
        torch.compiler.is_compiling()
        or is_observed(images)
        or type(images) is not Tensor
        or not images.is_cuda
        or images.requires_grad
        or has_hooks()
        or ways.is_recorded()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch.cuda.is_current_stream_capturing()
    )


def surroundings(images: Tensor) -> Hashable:
    """Returns what else has to be the same: the images' form, and modes in force."""
    device = images.device.type
    return (
        images.shape,
        images.stride(),
        images.dtype,
        images.device,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        *map(_set, PRECISIONS),
        tuple((layer, *rows.items()) for layer, rows in ways.table(device).items()),
    )


def _set(name: str) -> str:
    """Returns a setting of `torch.backends`; PyTorch refuses to read the old ones of tf32 where the
    new ones were set, and the other way round.
    """
    try:
        return str(attrgetter(name)(torch.backends))
    except (AttributeError, RuntimeError):
        return ""
