"""Weights that all contestants share, each by its own names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from resnext_backbones.build import build_classifier
from resnext_backbones.weights.find import trunks_in
from resnext_backbones.weights.formats import FORMATS

WRAPPED = "model."
"""Modules that wrap a peer's network call it so."""


def canonical_names(module: nn.Module) -> dict[str, str]:
    """Returns this package's name of each weight of a trunk, in whichever family's names it is."""
    names = {name: name.removeprefix(WRAPPED) for name in module.state_dict()}
    ((family, _),) = trunks_in(names.values())
    return {name: FORMATS[family].to_own(theirs) or theirs for name, theirs in names.items()}


def load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copies weights by this package's names; each tensor of the trunk must be among them."""
    own, tensors = canonical_names(module), module.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(state[own[name]])


def random_state(variant: str) -> dict[str, Tensor]:
    """Returns weights of a classifier by torchvision's names.

    Statistics and affine parameters of the norms have values of their own, and activations keep
    about unit scale: identities and vanishing activations would hide a difference.
    """
    generator = torch.Generator().manual_seed(0)
    ranges = {"running_var": (0.8, 1.2), "running_mean": (-0.2, 0.2), "bias": (-0.2, 0.2)}
    state = {}
    with torch.device("meta"):
        shapes = build_classifier(variant).state_dict()
    for name, meta in shapes.items():
        tensor = torch.empty(meta.shape)
        if tensor.dim() > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        else:
            low, high = ranges.get(name.rsplit(".", 1)[1], (0.4, 0.6))
            tensor.uniform_(low, high, generator=generator)
        state[name] = tensor
    return state
