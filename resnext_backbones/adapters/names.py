"""A backbone takes the names of Detectron2's own `ResNet` in its state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import METADATA
from resnext_backbones.weights.compare import COUNTER, check_said
from resnext_backbones.weights.formats import FORMATS

NAMES = FORMATS["detectron2"]
INSIDE = "trunk."


def use_detectron2_names(module: nn.Module, trunk: ResNeXt) -> None:
    """Gives a module whose child `trunk` is a `ResNeXt` the state dict of Detectron2's `ResNet`.

    It is written, read and reported by these names. Statistics that frozen norms lack, as in
    Caffe2's files, are those that change nothing, and counters of batches may be there or not:
    both as Detectron2 has it. A network with a part that Detectron2 has no names for (a deep stem)
    keeps this package's, behind `trunk.`.
    """
    if all(NAMES.from_own(key) for key in trunk.state_dict()):
        module.register_state_dict_post_hook(_write)
        module.register_load_state_dict_pre_hook(_read)
        module.register_load_state_dict_post_hook(_report)


def _theirs(key: str, prefix: str) -> str:
    """Returns the outer key of a tensor of the trunk; all other keys as they are."""
    own = key.removeprefix(prefix + INSIDE)
    return key if own == key else prefix + (NAMES.from_own(own) or INSIDE + own)


def _write(_: nn.Module, state: dict[str, Any], prefix: str, said: dict[str, Any]) -> None:
    for key in [key for key in state if key.startswith(prefix + INSIDE)]:
        state[_theirs(key, prefix)] = state.pop(key)
    # Versions of modules, by names that nobody else has; what the trunk says is the module's own.
    versions = getattr(state, "_metadata", {})
    for key in [key for key in versions if f"{key}.".startswith(prefix + INSIDE)]:
        inside = versions.pop(key)
        said.update(inside if METADATA in inside else {})


def _read(
    module: Any, state: dict[str, Any], prefix: str, said: Mapping[str, Any], *_: object
) -> None:
    check_said(f"of {prefix.removesuffix('.') or 'a state dict'}", said, module.trunk.presupposed())
    module._names_prefix = prefix  # the hook that reports is not told
    inside = prefix + INSIDE
    trunk, own = module.trunk, module.trunk.state_dict()
    kind = "gn" if "gn1.weight" in own else "bn"
    for key in [key for key in state if key.startswith(prefix)]:
        if (name := NAMES.to_own(key.removeprefix(prefix), kind)) is not None:
            state[inside + name] = state.pop(key)
    frozen = {module for part in trunk.frozen_modules().values() for module in part.modules()}
    for name, norm in trunk.named_modules():
        if isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, _BatchNorm) and norm in frozen):
            mean, var = f"{name}.running_mean", f"{name}.running_var"
            state.setdefault(inside + mean, torch.zeros_like(own[mean]))
            state.setdefault(inside + var, torch.ones_like(own[var]))
    # Counters that are missing are no loss: PyTorch takes norms without a version for old ones.
    for key in [key for key in state if key.startswith(inside) and key.endswith(COUNTER)]:
        if key.removeprefix(inside) not in own:
            del state[key]


def _report(module: Any, incompatible: Any) -> None:
    for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
        keys[:] = [_theirs(key, module._names_prefix) for key in keys]


class Named:
    """Stands for a part of the trunk by Detectron2's name; its tensors are the trunk's own.

    fvcore's Checkpointer looks for the module of each tensor whose shape does not fit, to leave
    quantised ones alone, before it says so. Whatever else one does with a module is an error that
    says where it is, and not without effect.
    """

    def __init__(self, path: str, trunk: ResNeXt) -> None:
        vars(self).update(_path=path, _trunk=trunk)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path, state = f"{self._path}.{name}", self._trunk.state_dict(keep_vars=True)
        for own, value in state.items():
            theirs = NAMES.from_own(own) or ""
            if theirs == path:
                return value
            if theirs.startswith(f"{path}."):
                return Named(path, self._trunk)
        raise AttributeError(f"{path}: {self._where}")

    def __getitem__(self, block: int) -> Any:
        return getattr(self, str(block))

    def __setattr__(self, name: str, _: object) -> None:
        raise AttributeError(f"{self._path}.{name}: {self._where}")

    def __call__(self, *_: object, **__: object) -> None:
        raise TypeError(f"{self._path}: {self._where}")

    @property
    def _where(self) -> str:
        return (
            "is no module, but what tensors are called; modules are in the backbone's `trunk`, as "
            "`conv1`, `bn1` and `layer1` to `layer4`"
        )

    def __repr__(self) -> str:
        return f"<{self._path} of the trunk>"
