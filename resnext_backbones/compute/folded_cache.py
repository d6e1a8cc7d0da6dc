"""The folded weights of frozen stages: computed once, and anew when a tensor has changed."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from resnext_backbones.compute.folding import Folding


class Entry(NamedTuple):
    """The folded weight and bias of a frozen convolution, and what they were computed from."""

    key: tuple[Any, ...]
    tensors: list[Tensor]
    folded: tuple[Tensor, Tensor]


# Beside the modules and not in them: a copy or a pickle of a network has no part in it. None stands
# for what may be held and was not folded yet.
_ENTRIES: WeakKeyDictionary[nn.Module, Entry | None] = WeakKeyDictionary()


def hold(module: nn.Module) -> None:
    """Hold the folded weights of a module's convolutions from now on: it is frozen.

    Not of everything that takes no gradient: a teacher's weights, say, follow a student's, and are
    mostly written through `Tensor.data`, which changes no version.
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            _ENTRIES[conv] = None


def drop(module: nn.Module) -> None:
    """Drop the folded weights of a module's convolutions, and hold none from now on.

    Writing through `Tensor.data` changes no version, so changes of the mode call this.
    """
    for conv in module.modules():
        _ENTRIES.pop(conv, None)


def folded(conv: nn.Conv2d, folding: Folding, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """Returns the folded weight and bias of a frozen convolution; None of one that is not held.

    A tensor that was moved lies elsewhere, and one that was changed in place, as loading weights
    does, has another version. The tensors are held, so that nothing else can come to lie where
    they were.
    """
    if conv not in _ENTRIES:
        return None
    tensors = [tensor for tensor in folding[:-1] if tensor is not None]
    if any(tensor.requires_grad for tensor in tensors):  # thawed since
        return None
    if any(tensor.is_inference() for tensor in tensors):  # these count no versions
        return folding.fold(dtype)
    stream = None
    if conv.weight.is_cuda:
        # A graph that is captured must not hold on to what another forward pass replaces.
        if torch.cuda.is_current_stream_capturing():
            return folding.fold(dtype)
        stream = torch.cuda.current_stream(conv.weight.device)  # nor one stream wait for another's
    state = [(t.device, t.dtype, t.data_ptr(), t._version) for t in tensors]
    key = dtype, folding.eps, stream, state
    entry = _ENTRIES.get(conv)
    if entry is None or entry.key != key:
        # Not as inference tensors, which a later training step could not use.
        with torch.inference_mode(False), torch.no_grad():
            result = folding.fold(dtype)
        entry = _ENTRIES[conv] = Entry(key, [tensor.detach() for tensor in tensors], result)
    return entry.folded
