"""Tools that train, divide and keep networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import (
    parameters_to_vector,
    vector_to_parameters,
)
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.flop_counter import FlopCounterMode

from pytorch_tools.table import gradients, tiny, tool
from resnext_backbones import ResNeXtClassifier


def in_one_process(function: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    def run(network: Any, images: Tensor) -> Any:
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            return function(network, images)
        finally:
            torch.distributed.destroy_process_group()

    return run


@tool("DistributedDataParallel, static_graph")
@in_one_process
def _(network: Any, images: Tensor) -> Any:
    return gradients(DistributedDataParallel(network, static_graph=True), images=images)


@tool("FSDP2's fully_shard")
@in_one_process
def _(network: Any, images: Tensor) -> Any:
    mesh = init_device_mesh("cpu", (1,))
    for stage in (network.layer1, network.layer2):
        for block in stage:
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    found = []
    for _ in range(2):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        found.append(network(images))
        optimiser.zero_grad()
        found[-1].square().mean().backward()
        optimiser.step()
    return found


@tool("DataParallel")
def _(network: Any, images: Tensor) -> Any:
    """A replica as torch.nn.parallel.replicate makes it for each GPU."""
    copies = {m: m._replicate_for_data_parallel() for m in network.modules()}
    for original, replica in copies.items():
        for key, child in original._modules.items():
            replica._modules[key] = copies.get(child)
        for tensors in (original._parameters, original._buffers):
            for key, tensor in tensors.items():
                setattr(replica, key, None if tensor is None else tensor.clone())
    return copies[network](images)


@tool("LBFGS")
def _(network: Any, images: Tensor) -> Any:
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=3, lr=0.01)

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = network(images).square().mean()
        value.backward()
        return value

    return [optimiser.step(closure), parameters_to_vector(network.parameters())]


@tool("parameters_to_vector")
def _(network: Any, images: Tensor) -> Any:
    vector = parameters_to_vector(network.parameters())
    vector_to_parameters(vector * 1.1, network.parameters())
    return [vector, network(images)]


@tool("AveragedModel and update_bn")
def _(network: Any, images: Tensor) -> Any:
    averaged = AveragedModel(network)
    with torch.no_grad():
        network.layer1[0].conv1.weight.mul_(2)
    averaged.update_parameters(network)
    update_bn([images, images + 1], averaged)
    return averaged.eval()(images)


@tool("autocast")
def _(network: Any, images: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        y = network.float()(images.float())
    return [y.float(), str(y.dtype)]


@tool("FlopCounterMode")
def _(network: Any, images: Tensor) -> Any:
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


@tool("fvcore's FlopCountAnalysis")
def _(network: Any, images: Tensor) -> Any:
    fvcore = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
    counts = fvcore.FlopCountAnalysis(network, images).unsupported_ops_warnings(False)
    by_operator = counts.uncalled_modules_warnings(False).by_operator()
    return by_operator["conv"], by_operator["batch_norm"]


@tool("load_state_dict(assign=True) on meta")
def _(network: Any, images: Tensor) -> Any:
    with torch.device("meta"):
        kind = type(network)
        empty = tiny()[0 if kind is ResNeXtClassifier else 1].eval()
    empty.load_state_dict(network.state_dict(), assign=True)
    return empty(images)


@tool("safetensors' save_file")
def _(network: Any, _: Tensor) -> Any:
    save_file(network.state_dict(), "weights.safetensors")
    return list(load_file("weights.safetensors").values())
