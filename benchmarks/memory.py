"""Counts what a forward pass keeps for the backward pass, and what a process took at most."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from resnext_backbones.engine.peak import process_peak


def kept_bytes(module: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes of the distinct storages that `forward` keeps, but for the parameters of `module`; on
    the device meta too, which has no addresses.
    """
    own = {p.untyped_storage()._cdata for p in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = forward()  # held: what it keeps must not make room for what it keeps next
    del outputs
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(device: str | torch.device) -> int:
    """Returns the most memory so far: allocated on the GPU, or the resident size of the process."""
    if torch.device(device).type != "cuda":
        return process_peak()
    # What lies in the pool of CUDA graphs is there for them, though no tensor has it.
    pools = (s for s in torch.cuda.memory_snapshot() if any(s["segment_pool_id"]))
    unused = sum(segment["total_size"] - segment["allocated_size"] for segment in pools)
    return torch.cuda.max_memory_allocated(device) + unused
