"""bfloat16 on any device; MMEngine's own wrapper knows GPUs only, and float16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from resnext_backbones.adapters.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """The forward pass under autocast. Gradients in bfloat16 need no scaling."""

    cast_dtype = torch.bfloat16  # by MMEngine's name for it

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Around the forward pass."""
        with super().optim_context(model), torch.autocast(get_device(), self.cast_dtype):
            yield
