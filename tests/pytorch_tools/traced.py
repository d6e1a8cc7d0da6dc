"""Tools that trace, compile, export and quantise."""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import fuse_modules, get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.fx.experimental.optimization import fuse as fuse_graph
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from pytorch_tools.table import tool


@tool("torch.fx.symbolic_trace")
def _(network: Any, images: Tensor) -> Any:
    return fx.symbolic_trace(network)(images)


@tool("torchvision's get_graph_node_names")
def _(network: Any, _: Tensor) -> Any:
    ending = re.compile(r"(^x$|^images$|mean|flatten|avgpool|getitem)")
    return [{n for n in names if not ending.search(n)} for names in get_graph_node_names(network)]


@tool("torchvision's create_feature_extractor")
def _(network: Any, images: Tensor) -> Any:
    found = create_feature_extractor(network, ["layer1.0.conv2", "layer2", "layer4"])(images)
    return list(found.values())


@tool("torchvision's IntermediateLayerGetter")
def _(network: Any, images: Tensor) -> Any:
    return list(IntermediateLayerGetter(network, {"layer1": "a", "layer4": "b"})(images).values())


@tool("torch.fx.experimental.optimization.fuse")
def _(network: Any, images: Tensor) -> Any:
    fused = fuse_graph(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    return fused(images)


@tool("make_fx")
def _(network: Any, images: Tensor) -> Any:
    return make_fx(network)(images)(images + 1)


@tool("torch.jit.script")
def _(network: Any, images: Tensor) -> Any:
    return torch.jit.script(network)(images)


@tool("torch.jit.script inside a network")
def _(network: Any, images: Tensor) -> Any:
    outer = nn.Sequential(network, nn.Softmax(1)).eval()
    scripted = torch.jit.script(outer)
    assert not any(m.training for m in outer.train().eval().modules())
    return [scripted(images), outer(images), copy.deepcopy(outer)(images)]


@tool("torch.jit.freeze")
def _(network: Any, images: Tensor) -> Any:
    return torch.jit.freeze(torch.jit.script(network))(images)


@tool("torch.jit.trace")
def _(network: Any, images: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        return torch.jit.trace(network, images)(images + 1)


@tool("torch.compile")
def _(network: Any, images: Tensor) -> Any:
    torch._dynamo.reset()
    return torch.compile(network, backend="eager", fullgraph=True)(images)


@tool("torch.export")
def _(network: Any, images: Tensor) -> Any:
    program = torch.export.export(network, (images,))
    weights = {n.args[1].op for n in program.graph.nodes if "conv2d" in str(n.target)}
    return [program.module()(images), weights, "norm" in str(program.graph)]


@tool("quantize_dynamic")
def _(network: Any, images: Tensor) -> Any:
    return quantize_dynamic(network.float(), {nn.Linear})(images.float())


@tool("fuse_modules")
def _(network: Any, images: Tensor) -> Any:
    names = [["conv1", "bn1"], ["layer1.0.conv3", "layer1.0.bn3"]]
    if isinstance(network.relu, nn.ReLU):  # it takes no other activation
        names[0].append("relu")
    return fuse_modules(network, [*names, ["layer2.0.downsample.0", "layer2.0.downsample.1"]])(
        images
    )


@tool("prepare_fx and convert_fx")
def _(network: Any, images: Tensor) -> Any:
    images = images.float()
    prepared = prepare_fx(network.float(), get_default_qconfig_mapping(), (images,))
    prepared(images)
    converted = convert_fx(prepared)
    kinds = sorted({type(m).__name__ for m in converted.modules() if "Conv" in type(m).__name__})
    return [kinds, converted(images)]
