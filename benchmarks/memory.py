"""Counts what a forward pass keeps for the backward pass, and what a process took at most."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


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
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage has the peak of the process that started this one as well
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
