"""The folded weights of frozen stages: computed once, and anew when a tensor has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from resnext_backbones.models.conv_norm import Folding


class Kept(NamedTuple):
    """The folded weight and bias of a frozen convolution, and what they were computed from."""

    key: tuple[Any, ...]
    tensors: list[Tensor]
    folded: tuple[Tensor, Tensor]


# Beside the modules and not in them: a copy or a pickle of a network has no part in it. None stands
# for what may be kept and was not folded yet.
_KEPT: WeakKeyDictionary[nn.Module, Kept | None] = WeakKeyDictionary()


def keep(module: nn.Module) -> None:
    """Keep the folded weights of a module's convolutions from now on: it is frozen.

    Not of everything that takes no gradient: a teacher's weights, say, follow a student's, and are
    mostly written through `Tensor.data`, which changes no version.
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            _KEPT[conv] = None


def is_kept(conv: nn.Module) -> bool:
    """Whether `keep` was called for it, and not `forget` since."""
    return conv in _KEPT


def forget(module: nn.Module) -> None:
    """Throw away the folded weights of a module's convolutions, and keep none from now on.

    Writing through `Tensor.data` changes no version, so changes of the mode call this.
    """
    for conv in module.modules():
        _KEPT.pop(conv, None)


def kept(conv: nn.Conv2d, folding: Folding, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The folded weight and bias of a frozen convolution.

    A tensor that was moved lies elsewhere, and one that was changed in place, as loading weights
    does, has another version. The tensors are held, so that nothing else can come to lie where
    they were.
    """
    tensors = folding.tensors()
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
    entry = _KEPT.get(conv)
    if entry is None or entry.key != key:
        # Not as inference tensors, which a later training step could not use.
        with torch.inference_mode(False), torch.no_grad():
            folded = folding.fold(dtype)
        entry = _KEPT[conv] = Kept(key, [tensor.detach() for tensor in tensors], folded)
    return entry.folded
