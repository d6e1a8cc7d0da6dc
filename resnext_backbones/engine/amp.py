"""Mixed precision in bfloat16 works on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from resnext_backbones.adapters.registry import OPTIM_WRAPPERS


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
