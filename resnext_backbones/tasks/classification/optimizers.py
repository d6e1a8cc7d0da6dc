"""Optimisers of other libraries get names for a config."""

from __future__ import annotations

from timm.optim import Lamb

from resnext_backbones.adapters.registry import OPTIMIZERS

OPTIMIZERS.register_module(module=Lamb)
