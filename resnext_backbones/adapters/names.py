"""The state dict of a module around a trunk, by the names of another family."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.models import ResNeXt
from resnext_backbones.weights.formats import FORMATS, Format

COUNTER = ".num_batches_tracked"


def use_names(module: nn.Module, family: str) -> None:
    """Give a module whose child `trunk` is a `ResNeXt` the state dict of a family's own network.

    It is written, read and reported by the family's names. Statistics that frozen norms lack, as
    in Caffe2's files, are those that change nothing, and counters of batches may be there or not:
    both as Detectron2 has it.

    Args:
        family: a key of `FORMATS`, which does not follow this package's names.
    """
    format_ = FORMATS[family]
    module.register_state_dict_post_hook(partial(_write, format_))
    module.register_load_state_dict_pre_hook(partial(_read, format_))
    module.register_load_state_dict_post_hook(partial(_report, format_))


def _theirs(format_: Format, name: str) -> str:
    """The family's name of a tensor of the trunk; the trunk's where that has none."""
    return format_.from_own(name) or f"trunk.{name}"


def _write(format_: Format, _: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    inside = f"{prefix}trunk."
    for key in [key for key in state if key.startswith(inside)]:
        state[prefix + _theirs(format_, key.removeprefix(inside))] = state.pop(key)
    # Versions of modules, by names that nobody else has.
    versions = getattr(state, "_metadata", {})
    for key in [key for key in versions if f"{key}.".startswith(inside)]:
        del versions[key]


def _read(format_: Format, module: Any, state: dict[str, Any], prefix: str, *_: object) -> None:
    module._names_prefix = prefix  # the hook that reports is not told
    trunk = module.get_submodule("trunk")
    assert isinstance(trunk, ResNeXt)
    own = trunk.state_dict()
    kind = "gn" if "gn1.weight" in own else "bn"
    inside = f"{prefix}trunk."
    for key in [key for key in state if key.startswith(prefix)]:
        name = format_.to_own(key.removeprefix(prefix), kind)
        if name is not None:
            state[inside + name] = state.pop(key)
    for name in _frozen_norms(trunk):
        mean, var = (f"{name}.running_{what}" for what in ("mean", "var"))
        state.setdefault(inside + mean, torch.zeros_like(own[mean]))
        state.setdefault(inside + var, torch.ones_like(own[var]))
    # Counters that are missing are no loss: PyTorch takes norms without a version for old ones.
    counters = {inside + key for key in own if key.endswith(COUNTER)}
    for key in [key for key in state if key.startswith(inside) and key.endswith(COUNTER)]:
        if key not in counters:
            del state[key]


def _report(format_: Format, module: Any, incompatible: Any) -> None:
    prefix = module._names_prefix
    inside = f"{prefix}trunk."
    for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
        keys[:] = [
            f"{prefix}{_theirs(format_, key.removeprefix(inside))}"
            if key.startswith(inside)
            else key
            for key in keys
        ]


def _frozen_norms(trunk: ResNeXt) -> list[str]:
    """The names of norms whose statistics never change."""
    frozen = {module for part in trunk.frozen_modules() for module in part.modules()}
    return [
        name
        for name, norm in trunk.named_modules()
        if isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, _BatchNorm) and norm in frozen)
    ]


class Named:
    """Stands for a module by a family's name; every attribute of it is such a stand-in.

    fvcore's Checkpointer looks for the module of each tensor whose shape does not fit, to leave
    quantised ones alone, before it says so.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Named:
        if name.startswith("__"):
            raise AttributeError(name)
        return Named(f"{self._path}.{name}")

    def __repr__(self) -> str:
        return f"<{self._path} of the trunk>"
