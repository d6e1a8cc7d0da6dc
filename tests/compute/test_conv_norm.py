"""The folded step against convolution and norm as modules."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import gradients, randomise, relative_error, small
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from benchmarks.memory import kept_bytes
from resnext_backbones.compute.conv_norm import Step, conv_norms
from resnext_backbones.compute.folding import can_fold
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.models import Plugin


def pair(norm: nn.Module | None = None, **options) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(8, 16, 3, **({"padding": 1, "groups": 2, "bias": False} | options))
    norm = nn.BatchNorm2d(16).eval() if norm is None else norm
    return randomise(conv), randomise(norm)


def conv_norm(x: torch.Tensor, conv: nn.Module, norm: nn.Module, **options) -> torch.Tensor:
    return conv_norms(x, [Step(conv, norm)], **options)


# What is folded, and what is not


def test_folded_step_and_every_gradient_in_double_precision() -> None:
    conv, norm = (m.double() for m in pair(bias=True))
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64, requires_grad=True)
    leaves = [x, *conv.parameters(), *norm.parameters()]
    assert can_fold(conv, norm)
    own, plain = conv_norm(x, conv, norm), norm(conv(x))
    assert relative_error(own, plain) <= 1e-12
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(own, leaves, upstream),
        torch.autograd.grad(plain, leaves, upstream),
        strict=True,
    ):
        assert relative_error(a, b) <= 1e-10


@pytest.mark.parametrize("frozen", [["weight"], ["gamma", "beta"], ["weight", "gamma"], ["x"]])
def test_only_what_is_trained_gets_a_gradient(frozen: list[str]) -> None:
    conv, norm = pair()
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    leaves = {"x": x, "weight": conv.weight, "gamma": norm.weight, "beta": norm.bias}
    for name in frozen:
        leaves[name].requires_grad_(False)
    upstream = torch.randn(1, 16, 6, 6)
    conv_norm(x, conv, norm).backward(upstream)
    got = {name: leaf.grad for name, leaf in leaves.items()}
    for leaf in leaves.values():
        leaf.grad = None
    norm(conv(x)).backward(upstream)
    for name, leaf in leaves.items():
        assert (got[name] is None) == (leaf.grad is None) == (name in frozen)
        assert got[name] is None or relative_error(got[name], leaf.grad) <= 1e-5


class Standardised(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


class Doubled(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


def patched() -> tuple[nn.Module, nn.Module]:
    """A convolution that computes something else on this instance alone."""
    conv, norm = pair()
    conv._conv_forward = lambda x, weight, bias: nn.functional.conv2d(-x, weight, bias, 1, 1, 1, 2)
    return conv, norm


PLAIN_PATH = {
    "patched": patched,
    "training": lambda: pair(nn.BatchNorm2d(16).train()),
    "group norm": lambda: pair(nn.GroupNorm(4, 16)),
    "no statistics": lambda: pair(nn.BatchNorm2d(16, track_running_stats=False).eval()),
    "own convolution": lambda: (Standardised(8, 16, 3, padding=1), pair()[1]),
    "own norm": lambda: (pair()[0], Doubled(16).eval()),
    "reflected": lambda: pair(padding_mode="reflect"),
}


@pytest.mark.parametrize("case", PLAIN_PATH)
def test_anything_else_takes_the_plain_path(case: str) -> None:
    conv, norm = PLAIN_PATH[case]()
    assert not can_fold(conv, norm)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(conv_norm(x, conv, norm), copy.deepcopy(norm)(conv(x)))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_a_hook_is_called(which: int, register: str) -> None:
    modules = pair()
    calls = []
    handle = getattr(modules[which], register)(lambda *args: calls.append(args))
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    conv_norm(x, *modules).sum().backward()
    assert len(calls) == 1
    handle.remove()
    assert can_fold(*modules)


@pytest.mark.parametrize("norm", [nn.SyncBatchNorm, SyncBatchNorm, FrozenBatchNorm2d])
def test_other_frozen_statistics_fold_as_well(norm) -> None:
    conv, norm = pair(norm(16).eval())
    assert can_fold(conv, norm)
    x = torch.randn(1, 8, 6, 6)
    plain = conv_norm(x, conv, norm, fold=False)
    own = conv_norm(x, conv, norm)
    assert relative_error(own, plain) <= 1e-5
    assert not torch.equal(own, plain)  # it was another computation


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_statistics_that_are_trained_do_not_fold(name: str) -> None:
    """PyTorch says that they have no gradient; folded, it would silently be left out."""
    conv, norm = pair()
    getattr(norm, name).requires_grad_(True)
    with pytest.raises(RuntimeError, match=name):
        conv_norm(torch.randn(1, 8, 6, 6), conv, norm)


@pytest.mark.parametrize("trained", ["x", "weight", "gamma", "all"])
@pytest.mark.parametrize("shortcut", [None, "x", "other"])
def test_second_derivatives(trained: str, shortcut: str | None) -> None:
    """Those of a gradient penalty, also where one tensor stands in two places."""
    conv, norm = (m.double() for m in pair(groups=1))
    last = randomise(nn.Conv2d(16, 8, 1, bias=False)).double()
    other = randomise(nn.BatchNorm2d(8).eval()).double()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    add = {"x": x, "other": torch.randn_like(x).requires_grad_(), None: None}[shortcut]
    leaves = {"x": x, "weight": conv.weight, "gamma": norm.weight, "last": last.weight}
    for name, leaf in leaves.items():
        leaf.requires_grad_(trained in (name, "all"))
    wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]

    def penalty(y: torch.Tensor) -> list[torch.Tensor]:
        first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), wanted)]

    steps = [Step(conv, norm, nn.ReLU()), Step(last, other, nn.ReLU())]
    own = penalty(conv_norms(x, steps, shortcut=add))
    y = other(last(norm(conv(x)).relu()))
    expected = penalty((y if add is None else y + add).relu())
    for a, b in zip(own, expected, strict=True):
        assert relative_error(a, b) <= 1e-10


def test_a_weight_in_two_steps_has_the_gradient_of_both() -> None:
    conv, norm = pair(randomise(nn.BatchNorm2d(8).eval()), groups=8)
    conv = randomise(nn.Conv2d(8, 8, 1, bias=False)).double()
    norm.double()
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    y = conv_norms(x, [Step(conv, norm, nn.ReLU()), Step(conv, norm)])
    plain = norm(conv(norm(conv(x)).relu()))
    for again in (False, True):
        options = {"retain_graph": True, "create_graph": again}
        (own,) = torch.autograd.grad(y.sum(), conv.weight, **options)
        (expected,) = torch.autograd.grad(plain.sum(), conv.weight, **options)
        assert relative_error(own, expected) <= 1e-10


def test_only_what_a_gradient_needs_is_kept() -> None:
    first = randomise(nn.Conv2d(8, 8, 1)), randomise(nn.BatchNorm2d(8).eval())
    steps = [Step(*first, nn.ReLU()), Step(*pair())]
    x = torch.randn(4, 8, 32, 32)
    sizes = []
    for trained in (steps[0].conv, steps[1].conv):
        for step in steps:
            step.conv.requires_grad_(step.conv is trained)
            step.norm.requires_grad_(False)
        holder = nn.ModuleList(m for step in steps for m in step[:2])
        sizes.append(kept_bytes(holder, lambda: conv_norms(x, steps)))
    statistics = 4 * sum(b.numel() for b in holder.buffers() if b.dtype == torch.float32)
    assert sizes == [2 * x.nbytes + statistics, x.nbytes + statistics]


# The trunk


@pytest.mark.parametrize(
    "options", [{}, {"stem": "deep", "shortcut": "pooled"}, {"recompute": True}]
)
@pytest.mark.parametrize("frozen_stages", [-1, 1])
def test_the_trunk_folded_and_not(options: dict, frozen_stages: int) -> None:
    own = small(norm_eval=True, frozen_stages=frozen_stages, **options)
    plain = small(
        norm_eval=True,
        frozen_stages=frozen_stages,
        fold_norm=False,
        channels_last=False,
        **(options | {"recompute": False}),
    )
    plain.load_state_dict(own.state_dict())
    images = torch.randn(2, 3, 64, 96)
    for a, b in zip(own(images), plain(images), strict=True):
        assert relative_error(a, b) <= 1e-5
    exact = images.double()
    expected = gradients(plain.double(), exact)
    for name, gradient in gradients(own.double(), exact).items():
        assert relative_error(gradient, expected[name]) <= 1e-11, name


def test_state_dict_and_optimiser_see_no_difference() -> None:
    own, plain = (small(norm_eval=True, fold_norm=fold).double() for fold in (True, False))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    for model in (own, plain):
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        for _ in range(2):
            optimiser.zero_grad()
            sum(o.square().mean() for o in model(images)).backward()
            optimiser.step()
    assert own.state_dict().keys() == before.keys()
    assert not torch.equal(own.conv1.weight, before["conv1.weight"])
    for (name, a), b in zip(own.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b) or relative_error(a, b) <= 1e-12, name


def test_half_is_kept_for_the_backward_pass() -> None:
    images = torch.randn(2, 3, 128, 128)
    own, plain = (
        small(norm_eval=True, frozen_stages=1, fold_norm=fold_norm) for fold_norm in (True, False)
    )
    own, plain = (kept_bytes(model, lambda m=model: m(images)) for model in (own, plain))
    assert own <= 0.55 * plain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    own = small(norm_eval=True, frozen_stages=1)
    plain = small(norm_eval=True, frozen_stages=1, fold_norm=False)
    images = torch.randn(2, 3, 64, 64)
    exact = gradients(own, images)
    reference = own(images)
    with torch.autocast("cpu", dtype):
        outputs = own(images)
        found, unfolded = gradients(own, images), gradients(plain, images)
    for a, b in zip(outputs, reference, strict=True):
        assert a.dtype == dtype
        assert a.is_contiguous(memory_format=torch.channels_last)
        assert relative_error(a.float(), b) <= 0.05
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    # Rounding is all that there is: no more of it than where the norm is on its own.
    errors = [
        sum((g[name] - exact[name]).square().sum() for name in exact) for g in (found, unfolded)
    ]
    assert errors[0] <= 1.5 * errors[1]


def test_channels_last_from_end_to_end() -> None:
    model = small(norm_eval=True)
    seen = []
    for block in model.blocks():
        block.register_forward_hook(lambda _, args, out: seen.extend((args[0], out)))
    model.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    outputs = model(torch.randn(1, 3, 64, 64))
    assert len(seen) == 11
    for tensor in (*seen, *outputs):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    plain = small(channels_last=False)(torch.randn(1, 3, 64, 64))
    assert all(tensor.is_contiguous() for tensor in plain)


class ReadsMemory(nn.Module):
    """As an operator that takes what lies in memory for NCHW."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        return x.as_strided((n, c, h, w), (c * h * w, h * w, w, 1)) * self.scale.view(-1, 1, 1)


@pytest.mark.parametrize("where", ["norm", "plugin"])
def test_modules_of_others_find_nchw_order(where: str) -> None:
    plugins = [[Plugin(2, lambda channels: ("reads", ReadsMemory(channels)))]] * 4
    options = {"norm": ReadsMemory} if where == "norm" else {"plugins": plugins}
    own = small(norm_eval=True, **options)
    plain = small(norm_eval=True, fold_norm=False, channels_last=False, **options)
    plain.load_state_dict(own.state_dict())
    images = torch.randn(1, 3, 64, 96)
    for a, b in zip(own(images), plain(images), strict=True):
        assert relative_error(a, b) <= 1e-5
        assert a.is_contiguous(memory_format=torch.channels_last)
