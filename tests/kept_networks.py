"""Networks of which the backward pass computes something again, and the same by their modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from helpers import small
from torch import Tensor, nn

from resnext_backbones import ResNeXt
from resnext_backbones.models.parts.attention import ATTENTION

SILU = {"activation": "SiLU", "stem": "tiered", "norm_eval": True}
TRAINED = SILU | {"norm_eval": False}
BEHIND_2 = {"attention_after": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "SiLU": SILU,
    "SiLU, norms trained": TRAINED,
    "SiLU, not folded": SILU | {"fold_norm": False},
    "pooled shortcuts": SILU | {"shortcut": "pooled", "frozen_stages": 1},
    "pooled blocks": SILU | {"pooling": "average", "zero_init_last_norm": False},
    "blocks passed by": SILU | {"drop_path": 0.3},
    "GC, norms trained": TRAINED | BEHIND_2 | {"attention": "GC"},
    "BAT, norms trained": TRAINED | BEHIND_2 | {"attention": "BAT"},
    "BAT, behind the third": SILU | {"attention": "BAT", "attention_after": 3},
    "SE, behind the third": {"attention": "SE", "norm_eval": True, "zero_init_last_norm": False},
    "GC, behind the third": SILU | {"attention": "GC", "attention_after": 3},
    "GC and ReLU": BEHIND_2 | {"attention": "GC", "norm_eval": True, "frozen_stages": 1},
    **{kind: SILU | BEHIND_2 | {"attention": kind} for kind in ATTENTION},
}


FEW = {
    "SiLU",
    "SiLU, norms trained",
    "pooled shortcuts",
    "SE, behind the third",
    "GC",
    "BAT",
    "BAT, norms trained",
}
"""In them is all that the others have."""


def by_modules(network: ResNeXt) -> ResNeXt:
    """Returns a copy whose modules have hooks, and are called one after the other."""
    found = type(network)(network.architecture, fold_norm=False, channels_last=False)
    found.load_state_dict(network.state_dict())
    for name, module in found.named_modules():
        module.register_forward_hook(lambda *_: None)
        module.train(network.get_submodule(name).training)
    for own, other in zip(found.parameters(), network.parameters(), strict=True):
        own.requires_grad_(other.requires_grad)
    for own, other in zip(found.blocks(), network.blocks(), strict=True):
        own.drop_path = other.drop_path
    return found.to(next(network.parameters()).dtype)


def network(**options: Any) -> ResNeXt:
    return small(**options).double()


def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 96, dtype=torch.float64)


def seeded(run: Callable[[Any, Tensor], Any], model: nn.Module, x: Tensor) -> Any:
    """Runs it with chances as they are after a seed."""
    torch.manual_seed(0)
    return run(model, x)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    assert found.keys() == expected.keys()
    # Some are zero but for rounding, such as that of the bias in front of GC's softmax.
    least = 1e-3 * max(e.abs().max() for e in expected.values())
    assert least > 0
    errors = {name: (found[name] - e).abs().max() for name, e in expected.items()}
    return all(e <= 1e-10 * max(least, expected[name].abs().max()) for name, e in errors.items())
