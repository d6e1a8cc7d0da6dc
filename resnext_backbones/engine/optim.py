"""An optimiser steps in bfloat16 on any device, and through few groups of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn

from resnext_backbones.adapters.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under autocast; gradients in bfloat16 need no scaling.

    MMEngine's AmpOptimWrapper takes bfloat16 too, but asserts an accelerator.
    """

    cast_dtype = torch.bfloat16  # by MMEngine's name for it

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(get_device(), self.cast_dtype):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FewGroups(DefaultOptimWrapperConstructor):
    """Makes one group of all parameters of the same settings.

    MMEngine makes a group of each parameter, hundreds of them, and fused and multi-tensor
    optimisers launch their kernels for each group.
    """

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **options: Any
    ) -> None:
        super().add_params(params, module, prefix, **options)
        if prefix:  # a part of the model; the whole of it comes last
            return
        merged: dict[str, dict[str, Any]] = {}
        for group in params:
            settings = repr(sorted((k, v) for k, v in group.items() if k != "params"))
            merged.setdefault(settings, group | {"params": []})["params"] += group["params"]
        params[:] = merged.values()


def in_float32(value: Any) -> Any:
    """Returns a value with the tensors in it that are of half precision in float32.

    bfloat16 has 8 bits: near 1333 pixels it knows every eighth, so what boxes are computed from
    must not be in it.
    """
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, tuple | list):
        return type(value)(in_float32(item) for item in value)
    return value
