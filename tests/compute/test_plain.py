"""Whatever changes between two calls shows in the next output: each way that PyTorch has."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from helpers import quick, relative_error, small
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, parametrize, prune, vector_to_parameters
from torch.overrides import TorchFunctionMode

from benchmarks.memory import kept_bytes
from resnext_backbones import ResNeXt
from resnext_backbones.compute import conv_norm
from resnext_backbones.models import bottleneck


@dataclass
class Place:
    """A convolution and the norm behind it, in a module that has them by these names."""

    network: ResNeXt
    owner: nn.Module
    names: tuple[str, str]
    patch: pytest.MonkeyPatch
    ends: ExitStack

    @property
    def conv(self) -> Any:
        return getattr(self.owner, self.names[0])

    @property
    def norm(self) -> Any:
        return getattr(self.owner, self.names[1])

    def put(self, number: int, module: nn.Module) -> None:
        setattr(self.owner, self.names[number], module)


PLACES: dict[str, Callable[[ResNeXt], tuple[nn.Module, tuple[str, str]]]] = {
    "the frozen stem": lambda m: (m, ("conv1", "bn1")),
    "a frozen block": lambda m: (m.layer1[0], ("conv2", "bn2")),
    "a trained block": lambda m: (m.layer3[1], ("conv3", "bn3")),
    "a shortcut": lambda m: (m.layer4[0].downsample, ("0", "1")),
}


def twice(function: Callable) -> Callable:
    return functools.wraps(function)(lambda *args, **kwargs: function(*args, **kwargs) * 2)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class LoRA(nn.Module):
    """As adapters of low rank wrap a convolution."""

    def __init__(self, base_layer: nn.Conv2d) -> None:
        super().__init__()
        self.base_layer = base_layer
        options = {"stride": base_layer.stride, "padding": base_layer.padding, "bias": False}
        self.down = nn.Conv2d(base_layer.in_channels, 2, base_layer.kernel_size, **options)
        self.up = nn.Conv2d(2, base_layer.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.up(self.down(x))


class OtherConv(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight * 2, bias)


class NormsTwice(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return found * 2 if function is F.batch_norm else found


def elsewhere(p: Place) -> None:
    """Another process writes into shared memory, as in Hogwild."""
    values = p.conv.weight.share_memory_().detach().numpy()
    process = multiprocessing.get_context("fork").Process(
        target=values.__imul__, args=(values.dtype.type(1.5),)
    )
    process.start()
    process.join()
    assert process.exitcode == 0


def step(p: Place, optimiser: Any, **options: Any) -> None:
    p.conv.weight.grad = torch.randn_like(p.conv.weight)
    optimiser([p.conv.weight], lr=0.1, **options).step()


def no_statistics(p: Place) -> None:
    p.norm.running_mean = p.norm.running_var = None


def as_attribute(p: Place) -> None:
    weight = p.conv.weight * 1.5
    del p.conv.weight
    p.conv.weight = weight


CHANGES: dict[str, Callable[[Place], object]] = {
    # weights
    "in place": lambda p: p.conv.weight.mul_(1.5),
    "data": lambda p: p.conv.weight.data.mul_(1.5),
    "data.copy_": lambda p: p.conv.weight.data.copy_(torch.randn_like(p.conv.weight)),
    "data put elsewhere": lambda p: setattr(p.conv.weight, "data", p.conv.weight.data * 1.5),
    "set_": lambda p: p.conv.weight.set_(p.conv.weight * 1.5),
    "numpy": lambda p: p.conv.weight.detach().numpy().__imul__(1.5),
    "dlpack": lambda p: torch.from_dlpack(p.conv.weight.detach()).mul_(1.5),
    "another process": elsewhere,
    "a vector": lambda p: vector_to_parameters(torch.rand(10**6), [p.conv.weight, p.norm.weight]),
    "swapped": lambda p: torch.utils.swap_tensors(
        p.conv.weight, nn.Parameter(p.conv.weight * 1.5, p.conv.weight.requires_grad)
    ),
    "EMA": lambda p: p.conv.weight.data.lerp_(torch.ones_like(p.conv.weight), 0.1),
    "loaded": lambda p: p.network.load_state_dict(
        {k: v * 1.5 for k, v in p.network.state_dict().items()}
    ),
    "assigned": lambda p: p.network.load_state_dict(
        {k: v * 1.5 for k, v in p.network.state_dict().items()}, assign=True
    ),
    "a parameter": lambda p: setattr(p.conv, "weight", nn.Parameter(p.conv.weight * 1.5)),
    "an attribute": as_attribute,
    "a bias": lambda p: setattr(p.conv, "bias", nn.Parameter(torch.ones(p.conv.out_channels))),
    "SGD": lambda p: step(p, torch.optim.SGD, foreach=True),
    "Adam": lambda p: step(p, torch.optim.Adam, fused=True),
    "rounded": lambda p: p.network.to(torch.bfloat16).float(),
    "memory": lambda p: p.network.to(memory_format=torch.channels_last),
    # what computes weights
    "parametrised": lambda p: parametrize.register_parametrization(p.conv, "weight", Twice()),
    "parametrised norm": lambda p: parametrize.register_parametrization(p.norm, "bias", Twice()),
    "weight norm": lambda p: parametrizations.weight_norm(
        p.conv
    ).parametrizations.weight.original0.data.mul_(1.5),
    "spectral norm": lambda p: parametrizations.spectral_norm(p.conv).eval(),
    "hooked spectral norm": lambda p: nn.utils.spectral_norm(p.conv).eval(),
    "pruned": lambda p: prune.random_unstructured(p.conv, "weight", 0.5),
    "pruned norm": lambda p: prune.l1_unstructured(p.norm, "weight", 0.5),
    "pruned for good": lambda p: prune.remove(
        prune.ln_structured(p.conv, "weight", 0.5, 2, 0), "weight"
    ),
    # norms
    "gamma": lambda p: p.norm.weight.data.mul_(1.5),
    "beta": lambda p: p.norm.bias.data.add_(1.5),
    "mean": lambda p: p.norm.running_mean.copy_(torch.ones_like(p.norm.running_mean)),
    "variance": lambda p: p.norm.running_var.data.mul_(1.5),
    "another mean": lambda p: setattr(p.norm, "running_mean", p.norm.running_mean + 1),
    "reset": lambda p: p.norm.reset_running_stats(),
    "no statistics": no_statistics,
    "no gamma": lambda p: setattr(p.norm, "weight", None),
    "eps": lambda p: setattr(p.norm, "eps", 1.0),
    "momentum": lambda p: setattr(p.norm, "momentum", 0.5),
    "training": lambda p: p.norm.train(),
    "batches": lambda p: setattr(p.norm, "track_running_stats", False),
    # geometry
    "integers": lambda p: [
        setattr(p.conv, k, getattr(p.conv, k)[0]) for k in ("stride", "padding")
    ],
    "around": lambda p: setattr(p.conv, "padding_mode", "circular"),
    # functions
    "forward": lambda p: setattr(p.conv, "forward", twice(p.conv.forward)),
    "a norm's forward": lambda p: setattr(p.norm, "forward", twice(p.norm.forward)),
    "_conv_forward": lambda p: setattr(p.conv, "_conv_forward", twice(p.conv._conv_forward)),
    "the class's": lambda p: p.patch.setattr(nn.Conv2d, "forward", twice(nn.Conv2d.forward)),
    "the norms'": lambda p: p.patch.setattr(
        nn.BatchNorm2d, "forward", twice(nn.BatchNorm2d.forward)
    ),
    "ReLU's": lambda p: p.patch.setattr(nn.ReLU, "forward", lambda _, x: F.leaky_relu(x)),
    "conv2d": lambda p: p.patch.setattr(F, "conv2d", twice(F.conv2d)),
    "batch_norm": lambda p: p.patch.setattr(F, "batch_norm", twice(F.batch_norm)),
    "__call__": lambda p: p.patch.setattr(nn.Module, "__call__", twice(nn.Module.__call__)),
    "a class's __call__": lambda p: p.patch.setattr(
        nn.BatchNorm2d, "__call__", twice(nn.Module.__call__), raising=False
    ),
    "another class": lambda p: setattr(p.conv, "__class__", OtherConv),
    "a function mode": lambda p: p.ends.enter_context(NormsTwice()),
    # hooks
    "a hook": lambda p: p.conv.register_forward_hook(lambda _, __, y: y * 2),
    "a norm's hook": lambda p: p.norm.register_forward_hook(lambda _, __, y: y * 2),
    "a hook before": lambda p: p.norm.register_forward_pre_hook(lambda _, args: args[0] * 2),
    "a hook of all": lambda p: p.ends.callback(
        register_module_forward_hook(
            lambda m, _, y: y * 2 if isinstance(m, nn.BatchNorm2d) else None
        ).remove
    ),
    # modules
    "LoRA": lambda p: p.put(0, LoRA(p.conv)),
    "another norm": lambda p: p.put(1, nn.GroupNorm(2, p.norm.num_features)),
    "no norm": lambda p: p.put(1, nn.Identity()),
    "synchronised": lambda p: nn.SyncBatchNorm.convert_sync_batchnorm(p.network),
    "fused": lambda p: (
        p.put(0, nn.utils.fuse_conv_bn_eval(p.conv.eval(), p.norm)),
        p.put(1, nn.Identity()),
    ),
    "another activation": lambda p: [
        setattr(m, "relu", nn.GELU()) for m in p.network.modules() if hasattr(m, "relu")
    ],
}

SAME = {"memory", "momentum", "batches", "integers", "synchronised", "fused"}
"""What changes nothing that is computed."""


@pytest.fixture
def by_modules(monkeypatch) -> Callable[[nn.Module, Tensor], tuple[Tensor, ...]]:
    """Runs a network by calling its modules one after the other."""

    def run(network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        with monkeypatch.context() as patch:
            for module in (conv_norm, bottleneck):
                patch.setattr(module, "is_observed", lambda _: True)
            return network(images)

    return run


@pytest.mark.parametrize("place", quick(PLACES, ["a frozen block"]))
@pytest.mark.parametrize("change", CHANGES)
def test_the_next_output_shows_it(change: str, place: str, monkeypatch, by_modules) -> None:
    network, images = small(frozen_stages=2, norm_eval=True), torch.randn(2, 3, 64, 64)
    with monkeypatch.context() as patch, ExitStack() as ends, torch.no_grad():
        changed = Place(network, *PLACES[place](network), patch, ends)
        if change == "around" and not any(changed.conv.padding):
            pytest.skip("a 1x1 convolution has no padding")
        before = network(images)[-1]
        CHANGES[change](changed)
        own, expected = network(images), by_modules(network, images)
    assert all(relative_error(a, b) <= 1e-5 for a, b in zip(own, expected, strict=True))
    assert (relative_error(own[-1], before) > 1e-4) == (change not in SAME)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_frozen_or_thawed_shows_in_the_next_gradients(place: str, by_modules) -> None:
    network = small(frozen_stages=2, norm_eval=True).double()
    owner, names = PLACES[place](network)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for parameter in (getattr(owner, names[0]).weight, getattr(owner, names[1]).bias):
        network(images)
        parameter.requires_grad_(not parameter.requires_grad)
        found = []
        for run in (lambda: network(images), lambda: by_modules(network, images)):
            network.zero_grad()
            run()[-1].square().sum().backward()
            found.append({k: p.grad for k, p in network.named_parameters() if p.grad is not None})
        own, expected = found
        assert (
            own.keys()
            == expected.keys()
            == {name for name, p in network.named_parameters() if p.requires_grad}
        )
        assert all(relative_error(own[name], expected[name]) <= 1e-10 for name in own)


@pytest.mark.parametrize("change", ["a norm's forward", "forward", "_conv_forward"])
def test_a_compiled_network_shows_it_too(change: str, monkeypatch) -> None:
    network, images = small(norm_eval=True, blocks=(1, 1)), torch.randn(1, 3, 64, 64)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with monkeypatch.context() as patch, ExitStack() as ends, torch.no_grad():
        place = Place(network, *PLACES["a frozen block"](network), patch, ends)
        before = compiled(images)[-1]
        CHANGES[change](place)
        own, expected = compiled(images)[-1], network(images)[-1]
    assert relative_error(own, expected) <= 1e-5
    assert relative_error(own, before) > 1e-4


def test_a_functional_call_and_copies_of_a_network(by_modules) -> None:
    network, images = small(frozen_stages=2, norm_eval=True), torch.randn(1, 3, 64, 64)
    network(images)
    state = {key: value * 1.5 for key, value in network.state_dict().items()}
    own = torch.func.functional_call(network, state, (images,))
    assert not any(torch.equal(a, b) for a, b in zip(own, network(images), strict=True))
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        twin.load_state_dict(state)
        for a, b, c in zip(own, twin(images), by_modules(twin, images), strict=True):
            assert torch.equal(a, b)
            assert relative_error(a, c) <= 1e-5


def test_a_teacher_follows_its_student() -> None:
    """Mean teachers take no gradient, and their weights are written through `data`."""
    model = small().eval().requires_grad_(False)
    images = torch.randn(1, 3, 64, 64)
    before = model(images)
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    after = copy.deepcopy(model)(images)
    for own, expected, old in zip(model(images), after, before, strict=True):
        assert torch.equal(own, expected)
        assert not torch.equal(own, old)


def test_frozen_stages_keep_nothing_and_travel_light() -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64)
    outputs = model(images)
    assert not any(output.requires_grad for output in outputs)
    assert kept_bytes(model, lambda: model(images)) == 0
    fresh = len(pickle.dumps(small(frozen_stages=4)))
    assert abs(len(pickle.dumps(model)) - fresh) < 1000


def test_inference_mode_before_training() -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        model(images)
    images.requires_grad_()
    model(images)[-1].sum().backward()
    assert images.grad is not None
