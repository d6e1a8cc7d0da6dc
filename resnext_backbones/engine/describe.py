"""What of a network is trained, in words."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.weights.identify import network_name

STATISTICS = {True: "statistics of the batch", False: "statistics frozen"}


def parts(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The stem and the stages."""
    stem = [m for name, m in backbone.named_children() if not name.startswith("layer")]
    yield "stem", nn.ModuleList(stem)
    for name, module in backbone.named_children():
        if name.startswith("layer"):
            yield name.replace("layer", "stage "), module


def frozen_parts(backbone: nn.Module) -> str:
    """The parts none of whose parameters are trained."""
    names = [name for name, part in parts(backbone) if not any(map(_trained, part.parameters()))]
    return ", ".join(names) or "none"


def norms(part: nn.Module) -> str:
    """The kinds of norm in a part, and what of them is trained."""
    kinds = set()
    for module in part.modules():
        kind = type(module).__name__
        if "Norm" not in kind:
            continue
        state = []
        if isinstance(module, _BatchNorm):
            state.append(STATISTICS[module.training])
        affine = any(map(_trained, module.parameters()))
        state.append("affine trained" if affine else "affine frozen")
        kinds.add(f"{kind} ({', '.join(state)})")
    return ", ".join(sorted(kinds)) or "none"


def _trained(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad


def is_frozen(backbone: nn.Module) -> bool:
    """Whether a part of it is not trained."""
    return not all(map(_trained, backbone.parameters()))


def count(module: nn.Module) -> str:
    """Of its parameters."""
    sizes = {True: 0, False: 0}
    for parameter in module.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    return f"{sizes[True]:,} trained, {sizes[False]:,} frozen"


def summary(trunk: nn.Module, model: nn.Module, pixels: str) -> list[tuple[str, str]]:
    """What training starts from, as names and values for the log.

    Args:
        trunk: the backbone, with this package's names or another's.
        model: all that it is in.
        pixels: that the trunk sees.
    """
    return [
        ("backbone", network_name(trunk.state_dict()) or type(trunk).__name__),
        ("parameters", f"backbone {count(trunk)}; all {count(model)}"),
        ("frozen", frozen_parts(trunk)),
        *(("norms", f"{name}: {norms(part)}") for name, part in parts(trunk)),
        ("pixels", pixels),
    ]
