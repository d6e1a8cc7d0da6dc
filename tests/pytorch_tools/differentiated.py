"""Tools that differentiate and map."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint_sequential

from pytorch_tools.table import gradients, tool


def loss(network: Any, parameters: Any, images: Tensor) -> Tensor:
    return functional_call(network, parameters, (images,)).square().sum()


def detached(network: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in network.named_parameters()}


@tool("torch.func.functional_call")
def _(network: Any, images: Tensor) -> Any:
    doubled = {name: p * 1.1 for name, p in network.named_parameters()}
    return functional_call(network, doubled, (images,))


@tool("torch.func.grad")
def _(network: Any, images: Tensor) -> Any:
    found = grad(functools.partial(loss, network))(detached(network), images)
    return [found[name] for name in sorted(found)]


@tool("torch.func.vmap of grad")
def _(network: Any, images: Tensor) -> Any:
    one = grad(lambda p, x: loss(network, p, x[None]))
    found = vmap(one, (None, 0))(detached(network), images)
    return [found["conv1.weight"], found["layer4.0.conv2.weight"], found["bn1.bias"]]


@tool("torch.func.vmap of an ensemble")
def _(network: Any, images: Tensor) -> Any:
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.layer2[0].conv2.weight.mul_(1.5)
        state = stack_module_state([network, other])
        return vmap(lambda p, b: functional_call(network, (p, b), (images,)))(*state)


@tool("torch.compile of vmap of grad")
def _(network: Any, images: Tensor) -> Any:
    torch._dynamo.reset()
    one = grad(lambda p, x: loss(network, p, x[None]))
    every = torch.compile(vmap(one, (None, 0)), backend="aot_eager", fullgraph=True)
    return list(every(detached(network), images).values())[:2]


@tool("torch.func.jvp")
def _(network: Any, images: Tensor) -> Any:
    return jvp(network, (images,), (torch.ones_like(images),))


@tool("torch.func.jacrev")
def _(network: Any, images: Tensor) -> Any:
    return jacrev(lambda bias: functional_call(network, {"bn1.bias": bias}, (images,)))(
        network.bn1.bias.detach()
    )


@tool("torch.func.hessian")
def _(network: Any, images: Tensor) -> Any:
    scale = torch.ones((), dtype=images.dtype)
    return hessian(lambda scale: network(images * scale).square().sum())(scale)


@tool("torch.autograd.forward_ad")
def _(network: Any, images: Tensor) -> Any:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(images, torch.ones_like(images))
        return list(forward_ad.unpack_dual(network(dual)))


@tool("second derivatives")
def _(network: Any, images: Tensor) -> Any:
    images = images.clone().requires_grad_()
    (first,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
    return [first, *gradients(network, first.square().sum())]


@tool("torch.autograd.functional.hvp")
def _(network: Any, images: Tensor) -> Any:
    return list(
        torch.autograd.functional.hvp(
            lambda x: network(x).square().sum(), images, torch.ones_like(images)
        )
    )


@tool("torch.autograd.grad, batched")
def _(network: Any, images: Tensor) -> Any:
    y = network(images)
    parameters = [network.conv1.weight, network.layer3[0].conv2.weight, network.bn1.bias]
    upstream = torch.eye(3, y.numel(), dtype=y.dtype).reshape(3, *y.shape)
    return list(torch.autograd.grad(y, parameters, upstream, is_grads_batched=True))


@tool("torch.autograd.graph.save_on_cpu")
def _(network: Any, images: Tensor) -> Any:
    with torch.autograd.graph.save_on_cpu():
        return gradients(network, images=images)


@tool("torch.utils.checkpoint")
def _(network: Any, images: Tensor) -> Any:
    stem = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    stages = nn.Sequential(network.layer1, network.layer2, network.layer3)
    y = checkpoint_sequential(stages, 2, stem, use_reentrant=False)
    return gradients(network, y.square().mean())


@tool("apply_activation_checkpointing")
def _(network: Any, images: Tensor) -> Any:
    apply_activation_checkpointing(network, check_fn=lambda m: type(m).__name__ == "Bottleneck")
    return gradients(network, images=images)
