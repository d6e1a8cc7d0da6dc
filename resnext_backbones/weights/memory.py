"""What a file holds gets memory of its own: tensors that are read are a part of the file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.weights.pickles import Inert


def in_memory(
    value: Any,
    device: str | torch.device = "cpu",
    rebuilt: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Returns nested mappings, lists and tuples with copies of their tensors: of a file that is
    read, these are there for as long as the file is as it was.

    Args:
        device: of the copies.
        rebuilt: returns what stands in the place of any other value.
    """
    return _copied(value, torch.device(device), rebuilt, {})


def _copied(
    value: Any, device: torch.device, rebuilt: Callable[[Any], Any], done: dict[int, Any]
) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    if not isinstance(value, dict | list | tuple) or isinstance(value, Inert):
        return rebuilt(value)
    if id(value) in done:  # a crafted file has one a million times, or in itself
        return done[id(value)]
    if isinstance(value, dict):
        copy: dict[Any, Any] = {}
        if hasattr(value, "_metadata"):
            copy = OrderedDict()
            copy._metadata = value._metadata  # type: ignore[attr-defined]
        done[id(value)] = copy
        copy.update((key, _copied(item, device, rebuilt, done)) for key, item in value.items())
        return copy
    items = [_copied(item, device, rebuilt, done) for item in value]
    return done.setdefault(id(value), items if isinstance(value, list) else tuple(items))
