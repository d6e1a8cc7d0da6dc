"""TorchScript takes a network as the graph that FX traces of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from resnext_backbones.models.bottleneck import Bottleneck
from resnext_backbones.models.cross_stage import CrossStage
from resnext_backbones.models.parts.bilinear import BilinearAttention, BilinearTransform
from resnext_backbones.models.parts.selective_kernel import SelectiveKernel
from resnext_backbones.models.parts.self_attention import BottleneckAttention, Positions

OPEN = (
    Bottleneck,
    CrossStage,
    SelectiveKernel,
    BilinearAttention,
    BilinearTransform,
    BottleneckAttention,
    Positions,
    nn.Sequential,
)
"""Modules that are traced through; all others are called."""

KNOWN = ("torch.", "torchvision.")
"""Packages whose modules TorchScript knows; of others it is asked."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        del name
        return not isinstance(module, OPEN)


class Scriptable(fx.GraphModule):
    """Stands for a network where `torch.jit.script` compiles one: the same modules, in a row.

    TorchScript puts it in the network's place in the module that it was given. Frozen parts stay
    frozen in it.
    """

    def __init__(self, network: nn.Module) -> None:
        graph = _Tracer().trace(network)
        for node in graph.nodes:  # types that TorchScript cannot read, such as tuple[Tensor, ...]
            node.type = None
        super().__init__(network, graph, type(network).__name__)
        self.__dict__["_of"] = (network,)  # not as a submodule

    def train(self, mode: bool = True) -> Scriptable:
        """Sets the mode as the network does."""
        super().train(mode)
        for network in self.__dict__.get("_of", ()):
            network.train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Scriptable:
        """Has the copy keep frozen parts frozen, too."""
        found: Any = super().__deepcopy__(memo)
        found.__dict__["_of"] = copy.deepcopy(self.__dict__["_of"], memo)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Does so for pickle."""
        make, arguments = super().__reduce__()
        return _unpickled, (make, arguments)


def _unpickled(make: Callable[..., fx.GraphModule], arguments: tuple[Any, ...]) -> Scriptable:
    made = make(*arguments)  # of no class but PyTorch's
    found = Scriptable.__new__(Scriptable)
    fx.GraphModule.__init__(found, made, made.graph, type(made).__name__)
    found.__dict__["_of"] = made.__dict__["_of"]
    return found


def scriptable(network: nn.Module) -> Scriptable:
    """Returns what TorchScript compiles in a network's place; the two share their weights.

    Raises:
        RuntimeError: a module of the network cannot be scripted; the message names it, and what
            takes the network as it is.
    """
    found = Scriptable(network)
    checked: set[type[nn.Module]] = set()
    for name, module in found.named_modules():
        kind: Any = type(module)
        if name == "" or kind.__module__.startswith(KNOWN) or kind in checked:
            continue
        checked.add(kind)
        try:
            torch.jit.script(copy.deepcopy(module))
        except Exception as error:
            raise RuntimeError(
                f"{name}: TorchScript cannot compile a {kind.__name__}. Trace the network with "
                "torch.jit.trace, or export it with torch.export"
            ) from error
    return found
