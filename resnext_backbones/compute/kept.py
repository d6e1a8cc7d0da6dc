"""What is kept of a tensor for the backward pass may be what it was made of.

SiLU's gradient needs its input, and the convolution behind it its output: PyTorch keeps both. Here
who makes a tensor says how it can be made again (`remember`), and who is about to keep it keeps
what that takes in its place (`keeping`), where nobody has changed it meanwhile.

For autograd these are hooks on saved tensors, so that what is made again has the history of the
first, which second derivatives need.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.weak import WeakTensorKeyDictionary

Hooks = tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]
"""How somebody packs saved tensors, and unpacks them."""


class Recipe(NamedTuple):
    """Says how a tensor is made again."""

    make: Callable[..., Tensor]
    """Called with the source, if there is one."""
    source: Tensor | None
    versions: tuple[int, ...]
    """The tensor and its source had these when it was made; each change in place adds to them."""
    under: Callable[[], object]
    """Returns whose hooks were in force then, while that is alive. Activation checkpointing gives
    back by number what was saved, so both of its passes must keep the same, which they do of
    tensors that both make."""


_recipes = WeakTensorKeyDictionary()
"""By the tensor, as long as somebody has it. Its own attributes would be saved with it."""


def remember(tensor: Tensor, make: Callable[..., Tensor], source: Tensor | None = None) -> None:
    """Notes that `make(source)` is `tensor`, where `source` is kept for the backward pass anyway.

    Without a source `make()` is, which sees to itself that it has what it needs.
    """
    source = None if source is None else source.detach()
    try:
        under = weakref.ref(_owner(_hooks_of_others()))
    except TypeError:  # some have none
        return
    _recipes[tensor] = Recipe(make, source, _versions(tensor, source), under)


def keeping(tensor: Tensor) -> AbstractContextManager[Any]:
    """Keeps, of a tensor that can be made again, what this takes, where it is saved meanwhile."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return nullcontext()
    recipe = _recipes.get(tensor)
    if recipe is None or recipe.versions != _versions(tensor, recipe.source) or is_forbidden():
        return nullcontext()
    hooks = _hooks_of_others()
    return _Keeping(tensor, recipe, hooks) if recipe.under() is _owner(hooks) else nullcontext()


def _versions(*tensors: Tensor | None) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in tensors if tensor is not None)


def is_forbidden() -> bool:
    """Returns whether somebody wants no hooks on saved tensors, as `torch.func` inside a module."""
    return torch._C._autograd._saved_tensors_hooks_get_disabled_error_message() is not None


def has_hooks() -> bool:
    """Returns whether somebody packs what is saved for the backward pass."""
    return _hooks_of_others() is not None


def _hooks_of_others() -> Hooks | None:
    """Returns those in force, but for this module's own."""
    hooks: Any = torch._C._autograd._top_saved_tensors_default_hooks(False)
    own = _owner(hooks)
    return own.hooks if isinstance(own, _Keeping) else hooks


def _owner(hooks: Hooks | None) -> Any:
    """Returns what tells hooks from others and lives as long; of none, this class."""
    return Recipe if hooks is None else getattr(hooks[0], "__self__", hooks[0])


class _Keeping(saved_tensors_hooks):
    """Packs one tensor as its recipe says, and all others as without it."""

    def __init__(self, tensor: Tensor, recipe: Recipe, hooks: Hooks | None) -> None:
        super().__init__(self._pack, _unpack)
        self.tensor, self.recipe, self.hooks = tensor, recipe, hooks

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        # The graph keeps its hooks, and would keep the tensor with them.
        del self.tensor, self.recipe, self.hooks, self.pack_hook, self.unpack_hook

    def _pack(self, saved: Tensor) -> Callable[[], Tensor]:
        make, source, versions, _ = self.recipe
        if not _is_part(saved, self.tensor) or saved._version != versions[0]:
            return _packed(saved, self.hooks)
        again = make if source is None else partial(_make, make, _packed(source, self.hooks))
        if saved is self.tensor:
            return again
        order = self.tensor.size(), self.tensor.stride()
        return partial(_part, again, order, saved.size(), saved.stride(), saved.storage_offset())


def _packed(saved: Tensor, hooks: Hooks | None) -> Callable[[], Tensor]:
    if hooks is not None:
        pack, unpack = hooks
        return partial(unpack, pack(saved))
    kept = saved if saved.is_leaf else saved.detach()  # a node's output would keep the node
    return partial(check_unchanged, kept, kept._version)


def _unpack(packed: Callable[[], Tensor]) -> Tensor:
    return packed()


def check_unchanged(kept: Tensor, version: int) -> Tensor:
    """Returns a tensor that was not changed in place meanwhile.

    Raises:
        RuntimeError: it was; in autograd's words, which checks it where it has no hooks.
    """
    if kept._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: [{kept.type()} {list(kept.shape)}] is at version {kept._version}; "
            f"expected version {version} instead"
        )
    return kept


@torch.no_grad()
def _make(make: Callable[[Tensor], Tensor], source: Callable[[], Tensor]) -> Tensor:
    return make(source())


def _is_part(saved: Tensor, tensor: Tensor) -> bool:
    """Returns whether it is the tensor, or a view of it, as a product of matrices saves one."""
    if saved is tensor:
        return True
    if saved.layout != tensor.layout or saved.dtype != tensor.dtype:
        return False
    storage, own = saved.untyped_storage(), tensor.untyped_storage()
    # The tensor is all that lies there.
    return storage._cdata == own._cdata and own.nbytes() == tensor.nbytes


def _part(
    again: Callable[[], Tensor],
    order: tuple[torch.Size, tuple[int, ...]],
    size: torch.Size,
    stride: tuple[int, ...],
    offset: Any,  # an integer, which may be symbolic
) -> Tensor:
    made = again()
    if made.stride() != order[1]:
        made = made.new_empty_strided(*order).copy_(made)
    return made.as_strided(size, stride, offset)
