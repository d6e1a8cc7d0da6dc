"""Small trunks whose steps may be captured, and their images."""

from __future__ import annotations

from typing import Any

import torch
from helpers import randomise
from torch import Tensor

from resnext_backbones import ResNeXt
from resnext_backbones.models.architecture import Architecture

SMALL = {"blocks": (2, 2), "cardinality": 8, "base_width": 8}


def trunk(device: str = "cpu", *, frozen_stages: int = 0, **fields: Any) -> ResNeXt:
    options = {name: fields.pop(name) for name in ("recompute", "drop_path") & fields.keys()}
    network = ResNeXt(
        Architecture(**SMALL | fields),
        norm_eval=True,
        frozen_stages=frozen_stages,
        cuda_graphs=True,
        **options,
    )
    return randomise(network).to(device)


def images(height: int = 64, width: int = 96, seed: int = 0, device: str = "cuda") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, height, width, generator=generator).to(device)
