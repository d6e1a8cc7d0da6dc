"""Small functions that several tests use."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor of a module values that keep activations at about unit scale.

    Statistics and affines of norms get values of their own: identities would hide a mix-up.
    Works on modules built on the meta device, which is much faster for large networks.
    """
    generator = torch.Generator().manual_seed(seed)
    module.to_empty(device="cpu") if _is_meta(module) else None
    for name, tensor in module.state_dict(keep_vars=True).items():
        with torch.no_grad():
            if name.endswith("num_batches_tracked"):
                tensor.zero_()
            elif name.endswith("running_var"):
                tensor.uniform_(0.8, 1.2, generator=generator)
            elif tensor.dim() < 2:
                mean = 0.0 if name.endswith(("bias", "running_mean")) else 0.5
                tensor.normal_(mean, 0.1, generator=generator)
            else:
                fan_in = tensor[0].numel()
                gain = 0.1 if "offset" in name else 1.4
                tensor.normal_(0, gain / fan_in**0.5, generator=generator)
    return module


def _is_meta(module: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in module.state_dict().values())


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The keys of a state dict and their shapes."""
    return {key: tuple(value.shape) for key, value in state.items()}


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Largest difference over the largest value of the reference."""
    return ((value - reference).abs().max() / reference.abs().max()).item()
