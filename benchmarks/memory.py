"""Says what a process took of memory at most, and what a forward pass keeps."""

from __future__ import annotations

import torch

from resnext_backbones.complexity import kept_by as kept_bytes
from resnext_backbones.engine.peak import process_peak

__all__ = ["kept_bytes", "peak_bytes"]


def peak_bytes(device: str | torch.device) -> int:
    """Returns the most memory so far: allocated on the GPU, or the resident size of the process."""
    if torch.device(device).type != "cuda":
        return process_peak()
    # What lies in the pool of CUDA graphs is there for them, though no tensor has it.
    pools = (s for s in torch.cuda.memory_snapshot() if any(s["segment_pool_id"]))
    unused = sum(segment["total_size"] - segment["allocated_size"] for segment in pools)
    return torch.cuda.max_memory_allocated(device) + unused
