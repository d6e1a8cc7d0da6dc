"""Words say what of a network is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.weights.identify import network_name


def summary(trunk: nn.Module, model: nn.Module, pixels: str) -> list[tuple[str, str]]:
    """Returns what training starts from, as names and values for the log: of a trunk, with this
    package's names or another's, of the whole model, and the pixels that the trunk sees.
    """
    parts = dict(_parts(trunk))
    still = [name for name, part in parts.items() if not any(map(_trained, part.parameters()))]
    return [
        ("backbone", network_name(trunk.state_dict()) or type(trunk).__name__),
        ("parameters", f"backbone {_count(trunk)}; all {_count(model)}"),
        ("frozen", ", ".join(still) or "none"),
        *(("norms", f"{name}: {_norms(part)}") for name, part in parts.items()),
        ("pixels", pixels),
    ]


def is_frozen(backbone: nn.Module) -> bool:
    """Tells whether a part of it is not trained."""
    return not all(map(_trained, backbone.parameters()))


def _parts(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    stem = [m for name, m in backbone.named_children() if not name.startswith("layer")]
    yield "stem", nn.ModuleList(stem)
    for name, module in backbone.named_children():
        if name.startswith("layer"):
            yield name.replace("layer", "stage "), module


def _norms(part: nn.Module) -> str:
    """Returns the kinds of norm in a part, and what of them is trained."""
    kinds = set()
    for module in part.modules():
        if "Norm" not in (kind := type(module).__name__):
            continue
        trained = "trained" if any(map(_trained, module.parameters())) else "frozen"
        statistics = ""
        if isinstance(module, _BatchNorm):
            statistics = "statistics of the batch, " if module.training else "statistics frozen, "
        kinds.add(f"{kind} ({statistics}affine {trained})")
    return ", ".join(sorted(kinds)) or "none"


def _trained(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad


def _count(module: nn.Module) -> str:
    sizes = {True: 0, False: 0}
    for parameter in module.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    return f"{sizes[True]:,} trained, {sizes[False]:,} frozen"
