"""What PyTorch's own tools do with a ResNet of torchvision, they do with this network.

Each row of `TOOLS` runs with both, on the same weights; docs/pytorch_tools.md lists the rows.
"""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers import randomise
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn
from torch.ao.quantization import fuse_modules, get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.autograd import forward_ad
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap
from torch.fx.experimental.optimization import fuse as fuse_graph
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import (
    parameters_to_vector,
    parametrizations,
    parametrize,
    prune,
    vector_to_parameters,
)
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint_sequential
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.models.resnet import Bottleneck, ResNet

from resnext_backbones import Architecture, ResNeXtClassifier, build_classifier

TOOLS: dict[str, Callable[[Any, Tensor], Any]] = {}
"""By the words of docs/pytorch_tools.md: from a network and images to what is compared."""


def tool(name: str) -> Callable[[Callable], Callable]:
    return lambda function: TOOLS.setdefault(name, function)


def gradients(network: nn.Module, loss: Tensor | None = None, images: Any = None) -> list[Tensor]:
    """Those of all parameters, by their names without what a tool puts before and into them."""
    (network(images).square().mean() if loss is None else loss).backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return [found[name] for name in sorted(found)]


# Traced, compiled, exported


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


# Differentiated, mapped


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


# Hooked, wrapped, replaced


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
    kinds = nn.AdaptiveAvgPool2d | nn.Linear
    return nn.Sequential(*(m for m in network.children() if not isinstance(m, kinds)))(images)


# Quantised


@tool("quantize_dynamic")
def _(network: Any, images: Tensor) -> Any:
    return quantize_dynamic(network.float(), {nn.Linear})(images.float())


@tool("fuse_modules")
def _(network: Any, images: Tensor) -> Any:
    names = [["conv1", "bn1", "relu"], ["layer1.0.conv3", "layer1.0.bn3"]]
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


# Trained


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


# Kept


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


def tiny() -> tuple[nn.Module, nn.Module]:
    """This package's network, and torchvision's."""
    architecture = Architecture(blocks=(1, 1, 1, 1), cardinality=4, base_width=4)
    options = {"groups": 4, "width_per_group": 4, "num_classes": 10}
    return ResNeXtClassifier(architecture, num_classes=10), ResNet(
        Bottleneck, [1, 1, 1, 1], **options
    )


@functools.cache
def pair(name: str) -> tuple[nn.Module, nn.Module]:
    if name == "tiny":
        own, peer = tiny()
    else:
        own, peer = build_classifier(name), getattr(torchvision.models, name)()
    peer.load_state_dict(randomise(own).state_dict())
    return own.double().eval(), peer.double().eval()


LOOSE = {"prepare_fx and convert_fx": 0.1, "autocast": 0.05, "quantize_dynamic": 1e-3}
"""How far those are apart that round to few bits, and two orders of the same sums with them."""

SLOW = {
    "torch.compile",
    "torch.func.jacrev",
    "make_fx",
    "torch.autograd.functional.hvp",
    "torch.func.hessian",
    "torch.jit.script",
    "torch.jit.freeze",
    "torch.fx.experimental.optimization.fuse",
    "LBFGS",
    "AveragedModel and update_bn",
}
"""Others like them are quick."""

LARGE = (
    "torch.fx.symbolic_trace",
    "torch.jit.script",
    "torch.export",
    "torch.func.grad",
    "torch.func.jvp",
    "second derivatives",
    "hooks",
    "pruning",
    "prepare_fx and convert_fx",
    "parameters_to_vector",
)
"""Those that one network of torchvision's own size goes through."""


@pytest.mark.parametrize(
    ("name", "network"),
    [
        *(pytest.param(n, "tiny", marks=[pytest.mark.whole] if n in SLOW else []) for n in TOOLS),
        *(pytest.param(n, "resnext50_32x4d", marks=pytest.mark.whole) for n in LARGE),
    ],
)
def test_a_tool(name: str, network: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    own, peer = (TOOLS[name](copy.deepcopy(kind), images) for kind in pair(network))
    own, peer = ([v] if isinstance(v, Tensor) else v for v in (own, peer))
    if not isinstance(own, list | tuple):
        assert own == peer
        return
    assert len(own) == len(peer) > 0
    for a, b in zip(own, peer, strict=True):
        if isinstance(b, Tensor):
            assert a.shape == b.shape
            difference = (a - b).abs().max() if b.is_floating_point() else (a != b).sum()
            assert difference <= LOOSE.get(name, 1e-6) * b.abs().max()
        else:
            assert a == b


def test_the_document_lists_them() -> None:
    document = Path(__file__).parents[2] / "docs/pytorch_tools.md"
    text = document.read_text(encoding="utf-8")
    assert not [name for name in TOOLS if f"`{name}`" not in text]
