"""An optimiser steps through few groups of parameters."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from resnext_backbones.adapters.registry import OPTIM_WRAPPER_CONSTRUCTORS


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
