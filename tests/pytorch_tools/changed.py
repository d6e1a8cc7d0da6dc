"""Tools that hook, wrap and replace modules."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
)

from pytorch_tools.table import gradients, tool


@tool("hooks")
def _(network: Any, images: Tensor) -> Any:
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _, __, y, name=name: seen.__setitem__(name, y.clone())
            )
    network.layer4.register_full_backward_hook(lambda _, __, g: seen.update(layer4=g[0]))
    network(images).sum().backward()
    return [sorted(seen), *(seen[name] for name in sorted(seen))]


@tool("hooks of all modules")
def _(network: Any, images: Tensor) -> Any:
    seen: list[str] = []
    handle = register_module_forward_hook(
        lambda m, _, __: seen.append(type(m).__name__) if not list(m.children()) else None
    )
    try:
        network(images)
    finally:
        handle.remove()
    return sorted(set(seen) - {"AdaptiveAvgPool2d"}), seen.count("BatchNorm2d")


@tool("torch.compile, hooks of all modules")
def _(network: Any, images: Tensor) -> Any:
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager")
    handle = register_module_forward_hook(
        lambda m, _, y: y + 1 if isinstance(m, nn.BatchNorm2d) else None
    )
    try:
        return compiled(images)
    finally:
        handle.remove()


@tool("hooks of tensors and state dicts")
def _(network: Any, images: Tensor) -> Any:
    seen: list[Any] = []
    network.layer1[0].conv2.weight.register_hook(lambda g: seen.append(g))
    network.layer1[0].conv3.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    network.register_state_dict_post_hook(lambda _, state, *__: state.update(more=1))
    network(images).sum().backward()
    return [*sorted(seen, key=torch.numel), sorted(network.state_dict())]


@tool("parametrisations")
def _(network: Any, images: Tensor) -> Any:
    torch.manual_seed(0)  # for the vectors that spectral_norm begins with
    parametrizations.weight_norm(network.layer1[0].conv2)
    parametrizations.spectral_norm(network.layer2[0].conv2).eval()
    parametrize.register_parametrization(network.layer3[0].bn2, "weight", nn.Softplus())
    return gradients(network, images=images)


@tool("weight_norm by hooks")
def _(network: Any, images: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(network.layer1[0].conv2)
    return gradients(network, images=images)


@tool("pruning")
def _(network: Any, images: Tensor) -> Any:
    prune.l1_unstructured(network.layer1[0].conv2, "weight", 0.5)
    prune.ln_structured(network.layer2[0].conv1, "weight", 0.5, n=2, dim=0)
    convs = [(m, "weight") for m in network.layer3.modules() if isinstance(m, nn.Conv2d)]
    prune.global_unstructured(convs, prune.L1Unstructured, amount=0.5)
    pruned = network(images)
    prune.remove(network.layer1[0].conv2, "weight")
    return [pruned, network(images)]


class LoRA(nn.Module):
    def __init__(self, base_layer: nn.Conv2d) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        shape = base_layer.out_channels, base_layer.in_channels // base_layer.groups
        self.a = nn.Parameter(torch.linspace(-1, 1, shape[1]).double()[None] / 10)
        self.b = nn.Parameter(torch.linspace(-1, 1, shape[0]).double()[:, None] / 10)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.base_layer
        added = (self.b @ self.a)[:, :, None, None]
        return conv(x) + nn.functional.conv2d(x, added, None, conv.stride, 0, 1, conv.groups)


@tool("LoRA")
def _(network: Any, images: Tensor) -> Any:
    network.requires_grad_(False)
    for stage in (network.layer1, network.layer3):
        stage[0].conv1 = LoRA(stage[0].conv1)
        stage[0].downsample[0] = LoRA(stage[0].downsample[0])
    return gradients(network, images=images)


@tool("convert_sync_batchnorm")
def _(network: Any, images: Tensor) -> Any:
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)(images)


@tool("fuse_conv_bn_eval")
def _(network: Any, images: Tensor) -> Any:
    block = network.layer1[0]
    block.conv2 = nn.utils.fuse_conv_bn_eval(block.conv2, block.bn2)
    block.bn2 = nn.Identity()
    return network(images)


@tool("nn.Sequential of the children")
def _(network: Any, images: Tensor) -> Any:
    children = list(network.children())
    return [nn.Sequential(*children[:-cut])(images) for cut in (1, 2)]


@tool("another avgpool or fc")
def _(network: Any, images: Tensor) -> Any:
    network.avgpool, network.fc = nn.AdaptiveMaxPool2d(1), nn.Identity()
    return network(images)
