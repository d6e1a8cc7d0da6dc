"""What is frozen takes no gradient and stays in eval mode, until it is told otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn


class RandomStagesWarning(UserWarning):
    """Says that random values are frozen."""


def warn_of_random_stages(network: Any, otherwise: str) -> None:
    """Warns where stages of a `ResNeXt` without weights are frozen; `otherwise` trains them."""
    if network.frozen_stages >= 0:
        warnings.warn(
            "the stem and stages of random values are frozen, and stay so unless a state dict is "
            f"loaded: give weights, or {otherwise}",
            RandomStagesWarning,
            stacklevel=4,
        )


def freeze(modules: Mapping[str, nn.Module]) -> None:
    """Takes the gradients from all parameters of the modules."""
    for module in modules.values():
        module.requires_grad_(False)


def keep_in_eval(modules: Mapping[str, nn.Module]) -> None:
    """Puts those parts of frozen modules into eval mode that take no gradient.

    Somebody may have given gradients to others again, with `requires_grad_` or as new parameters:
    these are trained, and a warning names them.
    """
    thawed = [name for name, module in modules.items() if not _keep(module)]
    if thawed and modules[thawed[0]].training:
        warnings.warn(
            f"{', '.join(thawed)}: frozen by frozen_stages, but holding parameters that take "
            "gradients; these are trained. Set frozen_stages to what is to be frozen, or call "
            "requires_grad_(False)",
            stacklevel=3,
        )


def _keep(module: nn.Module) -> bool:
    """Returns whether all of it is frozen."""
    frozen = not any(parameter.requires_grad for parameter in module.parameters())
    if frozen:
        module.eval()
    else:
        for part in module.children():
            # Without tensors, as an activation: it belongs to what holds it.
            if any(True for _ in (*part.parameters(), *part.buffers())):
                _keep(part)
    return frozen
