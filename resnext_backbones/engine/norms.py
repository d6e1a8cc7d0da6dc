"""Batch norms can follow the batches of all processes, on GPUs and on CPUs."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from torch import nn

from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm

MODELS.register_module(module=SyncBatchNorm)

SYNCHRONISED = ("SyncBN", "MMSyncBN")
"""PyTorch's and mmcv's have these types in a config. Neither is known to DDP on a CPU."""


def use_own(norms: Iterable[MutableMapping[str, Any]]) -> None:
    """Puts this package's class, which knows gloo, in the place of the others in a config."""
    for norm in norms:
        norm["type"] = "resnext_backbones.SyncBatchNorm"
        for key in ("group", "stats_mode"):  # which mmcv's takes besides
            norm.pop(key, None)


def synchronise_norms(module: nn.Module) -> None:
    """Lets the batch norms in a module follow the batches of all processes."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            norm = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            norm._parameters, norm._buffers = child._parameters, child._buffers  # frozen or not
            setattr(module, name, norm.train(child.training))
        else:
            synchronise_norms(child)
