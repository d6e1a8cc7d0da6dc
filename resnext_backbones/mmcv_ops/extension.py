"""Stands as `mmcv._ext` where no operators are compiled, with the names that mmcv calls.

mmcv allocates the outputs and hands them over; an operator fills them in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision

from resnext_backbones.mmcv_ops import (
    attention,
    boxes,
    carafe,
    deform_conv,
    focal_loss,
    masks,
    roi_align,
    roi_pool,
    suppression,
    sync_bn,
)
from resnext_backbones.mmcv_ops.absent import stand_in

MODULES = (
    attention, boxes, carafe, deform_conv, focal_loss, masks, roi_align, roi_pool,
    suppression, sync_bn,
)  # fmt: skip

ROTATED = {"box_iou_rotated", "nms_rotated"}
"""What torchvision has an operator for from 0.27 on."""

# PyTorch 2.11 compiles a backward pass that fills in a tensor to one that leaves it at zero.
_take: Callable[..., Any] = torch.compiler.disable if torch.__version__ < "2.12" else lambda f: f

COMPUTED: dict[str, Callable[..., Any]] = {
    name: _take(getattr(module, name))
    for module in MODULES
    for name in module.__all__
    if name not in ROTATED or hasattr(torch.ops.torchvision, "box_iou_rotated")
}


def get_compiler_version() -> str:
    """Returns what the operators come from; with compiled ones it is the compiler."""
    return f"none: torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """Returns the CUDA version of torch, which torchvision's operators share."""
    return torch.version.cuda or "not available"


def __getattr__(name: str) -> Callable[..., Any]:
    """Returns an operator; one that raises, for whatever is not computed here."""
    if name.startswith("__"):
        raise AttributeError(name)
    return COMPUTED.get(name) or stand_in(name)
