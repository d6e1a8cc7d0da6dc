"""What is made again from what is kept in its place gives the same gradients, in every use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from helpers import gradients, quick, relative_error
from kept_networks import FEW, NETWORKS, SILU, by_modules, images, network, same, seeded
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from resnext_backbones.compute.kept import keeping, remember

WHOLE = [pytest.mark.whole]


@pytest.mark.parametrize("name", quick(NETWORKS, FEW))
def test_every_gradient(name: str) -> None:
    own = network(**NETWORKS[name])
    plain, x = by_modules(own), images()
    assert same(seeded(gradients, own, x), seeded(gradients, plain, x))
    for a, b in zip(own.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b) or relative_error(a, b) <= 1e-12  # statistics count a batch once


# Changes in place


def in_place(y: Tensor) -> None:
    y.mul_(1.5)


def unseen(y: Tensor) -> None:
    with torch.no_grad():
        y.mul_(1.5)


def detached(y: Tensor) -> None:
    y.detach()[:, ::2] = 1.5


@pytest.mark.parametrize("change", [in_place, unseen, detached])
@pytest.mark.parametrize("norm_eval", [True, False])
def test_an_output_that_somebody_changes(change: Callable, norm_eval: bool) -> None:
    """Between blocks, where PyTorch allows it: SiLU's gradient does not need its output."""
    own = network(**(SILU | {"norm_eval": norm_eval}))
    plain, x = by_modules(own), images()
    for model in (own, plain):
        for place in (model.maxpool, model.layer1[0], model.layer3[0]):
            place.register_forward_hook(lambda _, __, y: change(y))
    assert same(gradients(own, x), gradients(plain, x))


CHANGED = {
    "a weight": ("SiLU", lambda m: m.layer3[1].conv1.weight),
    "a weight, not folded": ("SiLU, norms trained", lambda m: m.layer3[1].conv1.weight),
    "an attention's weight": ("SE", lambda m: m.layer3[1].attn.fc1.weight),
    "an attention's statistics": ("BAT", lambda m: m.layer3[1].attn.ba.conv1.bn.running_mean),
}
"""Networks, and what of them is changed."""


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_changed_before_the_backward_pass(name: str) -> None:
    """PyTorch says so, of what it keeps and of what is to be computed again alike."""
    kind, find = CHANGED[name]
    model = network(**NETWORKS[kind])
    loss = sum(output.sum() for output in model(images()))
    with torch.no_grad():
        find(model).mul_(1.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("hooks", [nullcontext, torch.autograd.graph.save_on_cpu])
def test_a_source_that_is_changed(hooks: Callable) -> None:
    """Before somebody keeps it, the output is kept; afterwards nothing is right."""
    z = torch.randn(2, 3, 4, 4, requires_grad=True)
    source, weight = z * 1, torch.randn(1, 3, 1, 1, requires_grad=True)
    for late in (False, True):
        source = z * 1
        x = source.sigmoid()
        remember(x, torch.sigmoid, source)
        if not late:
            source.detach().mul_(2)
        with hooks(), keeping(x):
            y = functional.conv2d(x, weight)
        if late:
            source.detach().mul_(2)
        if late and hooks is nullcontext:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.sum().backward()
        else:
            (found,) = torch.autograd.grad(y.sum(), weight)
            assert torch.allclose(found.flatten(), x.sum((0, 2, 3)))


def test_modes_that_change_before_the_backward_pass() -> None:
    own = network(**NETWORKS["BAT, norms trained"])
    plain, x = by_modules(own), images()

    def run(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
        loss = sum(output.square().mean() for output in model(x))
        model.eval()
        loss.backward()
        assert not any(module.training for module in model.modules())
        return {name: p.grad for name, p in model.named_parameters()}

    assert same(seeded(run, own, x), seeded(run, plain, x))


# Who keeps and computes by rules of their own


def saved_elsewhere(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with torch.autograd.graph.save_on_cpu():
        return gradients(model, x)


def twice(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """A gradient penalty, of the images and of the output of a block inside."""
    seen: list[Tensor] = []
    hook = model.layer3[0].register_forward_hook(lambda _, __, y: seen.append(y))
    x = x.clone().requires_grad_()
    loss = model(x)[-1].square().mean()
    hook.remove()
    first = torch.autograd.grad(loss, (x, seen[0]), create_graph=True)
    return penalised(model, sum(g.square().sum() for g in first))


def penalised(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def kept_graph(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The second backward pass through one graph, after one of some parameters alone."""
    loss = sum(output.square().mean() for output in model(x))
    torch.autograd.grad(loss, model.layer4[0].conv3.weight, retain_graph=True)
    loss.backward(retain_graph=True)
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def checkpointed(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Stages whose input was made outside, and blocks that are made and kept inside."""
    for stage in model.stages[1:]:
        forward = stage.forward
        stage.forward = lambda x, f=forward: checkpoint(f, x, use_reentrant=False)
    return gradients(model, x)


def checkpointed_reentrant(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    for block in model.blocks():
        forward = block.forward
        block.forward = lambda x, f=forward: checkpoint(f, x, use_reentrant=True)
    sum(output.square().mean() for output in model(x)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def forbidden(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with torch.autograd.graph.disable_saved_tensors_hooks("no hooks here"):
        return gradients(model, x)


def under_autocast(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Which knows no double precision, but is there."""
    with torch.autocast("cpu", torch.bfloat16):
        return gradients(model, x)


def frozen_norms(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bn" not in name)
    return gradients(model, x)


def attention_alone(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".attn." in name or ".se." in name)
    return gradients(model, x)


def hooked(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    calls: list[nn.Module] = []
    for block in model.blocks():
        attention = block.se if hasattr(block, "se") else block.attn
        attention.register_forward_hook(lambda module, *_: calls.append(module))
    found = gradients(model, x)
    assert len(calls) == 5, "once"
    return found


USES = (
    saved_elsewhere,
    twice,
    kept_graph,
    checkpointed,
    checkpointed_reentrant,
    forbidden,
    under_autocast,
    frozen_norms,
    attention_alone,
    hooked,
)


THIRD = "SE, behind the third"
QUICK = {("BAT", checkpointed), ("BAT", kept_graph), ("GC, norms trained", twice)}
QUICK |= {(THIRD, use) for use in (checkpointed, kept_graph, twice, attention_alone)}


@pytest.mark.parametrize(
    ("name", "use"),
    [
        pytest.param(name, use, marks=[] if name == "SE" or (name, use) in QUICK else WHOLE)
        for name in ("SE", THIRD, "BAT", "GC, norms trained")
        for use in USES
    ],
)
def test_by_other_rules(name: str, use: Callable) -> None:
    own = network(**NETWORKS[name])
    plain, x = by_modules(own), images()
    assert same(seeded(use, own, x), seeded(use, plain, x))


@pytest.mark.parametrize("name", ["SE", THIRD, "GC and ReLU", "BAT, norms trained"])
def test_half_precision_bit_for_bit(name: str) -> None:
    """The same is made again as was there: against keeping it, which who forbids hooks asks for."""
    model, x = network(**NETWORKS[name]).float(), images().float()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = seeded(gradients, model, x), seeded(forbidden, model, x)
    assert all(torch.equal(found[key], e) for key, e in expected.items())


def test_a_view_and_another_order_in_memory() -> None:
    """A product of matrices saves a view; what is made again may lie in another order."""
    z = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 20, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor) -> list[Tensor]:
        y = torch.bmm(x.flatten(2), w).sum() + (x[:, 1:, ::2] * w[0, :2, :1, None]).sum()
        return list(torch.autograd.grad(y + x.square().sum(), (z, w)))

    x = functional.silu(z)
    remember(x, lambda z: functional.silu(z.contiguous(memory_format=torch.channels_last)), z)
    with keeping(x):
        found = run(x)
    for a, b in zip(found, run(functional.silu(z)), strict=True):
        assert relative_error(a, b) <= 1e-12
