"""Small functions that several tests use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnext_backbones import ResNeXt
from resnext_backbones.compute.calls import Layer
from resnext_backbones.compute.tables import Ways
from resnext_backbones.models.architecture import FIELDS, Architecture


class EveryLayer(dict):
    """A table of ways that has every layer, with the ways that a function gives it."""

    def __init__(self, ways: Callable[[Layer], Ways]) -> None:
        super().__init__()
        self.ways = ways

    def get(self, layer: Layer, default: object = None) -> dict[int, Ways]:  # noqa: ARG002
        return {1: self.ways(layer)}


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
                _draw(tensor, gain / fan_in**0.5, generator)
    return module


def _draw(tensor: Tensor, std: float, generator: torch.Generator, most: int = 131_071) -> None:
    """Normal values; those of a large tensor repeat, since to draw them all takes seconds.

    The period is a prime, so that no two rows are alike.
    """
    count = tensor.numel()
    values = torch.randn(min(count, most), generator=generator) * std
    repeated = values.repeat(-(-count // len(values)))[:count]
    tensor.copy_(repeated.reshape(tensor.shape))


def _is_meta(module: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in module.state_dict().values())


def quick(names: Iterable[str], chosen: Collection[str]) -> list[Any]:
    """Parameters of a test: all names of a table, those marked `whole` that are not chosen."""
    names = list(names)
    assert set(chosen) <= set(names), "a name that the table does not have"
    return [pytest.param(n, marks=() if n in chosen else pytest.mark.whole) for n in names]


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The keys of a state dict and their shapes."""
    return {key: tuple(value.shape) for key, value in state.items()}


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Largest difference over the largest value of the reference."""
    return ((value - reference).abs().max() / reference.abs().max()).item()


SMALL = Architecture(blocks=(1, 1, 2, 1), cardinality=4, base_width=4, base_channels=16)
"""A network that computes in milliseconds."""


PARTS: dict[str, dict[str, Any]] = {
    "SK": {"spatial": "SK"},
    "BoT": {"spatial": "BoT", "activation": "SiLU"},
    "csp": {"stage": "csp", "activation": "LeakyReLU"},
}
"""Fields of networks whose blocks or stages have other parts."""


def drawn(cls: type[ResNeXt] = ResNeXt, **options: Any) -> ResNeXt:
    """Returns `SMALL` as it draws its weights.

    Args:
        cls: of the network.
        options: its own, and fields of `Architecture`.
    """
    fields = {key: options.pop(key) for key in list(options) if key in FIELDS}
    return cls(replace(SMALL, **fields), **options)


def small(cls: type[ResNeXt] = ResNeXt, **options: Any) -> ResNeXt:
    """Returns `SMALL` with weights that hide nothing; arguments as of `drawn`."""
    return randomise(drawn(cls, **options))


def gradients(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Those of all parameters that are trained, from fixed gradients of the outputs.

    To be compared in double precision: rounding in single precision turns some values round
    ReLU's kink to its other side, on one processor and not on another.
    """
    outputs = model(images)
    generator = torch.Generator().manual_seed(1)
    loss = sum((o * torch.randn(o.shape, generator=generator)).sum() for o in outputs)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
