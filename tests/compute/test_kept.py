"""What is kept in another tensor's place: no more than ReLU keeps, for the same gradients."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from helpers import gradients, quick, relative_error, small
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from benchmarks.memory import kept_bytes
from resnext_backbones import ResNeXt
from resnext_backbones.compute import kept
from resnext_backbones.compute.kept import keeping, remember
from resnext_backbones.models.parts.attention import ATTENTION

SILU = {"activation": "SiLU", "stem": "tiered", "norm_eval": True}
TRAINED = SILU | {"norm_eval": False}
BEHIND_2 = {"attention_after": 2}
WHOLE = [pytest.mark.whole]
NETWORKS: dict[str, dict[str, Any]] = {
    "SiLU": SILU,
    "SiLU, norms trained": TRAINED,
    "SiLU, not folded": SILU | {"fold_norm": False},
    "pooled shortcuts": SILU | {"shortcut": "pooled", "frozen_stages": 1},
    "pooled blocks": SILU | {"pooling": "average", "zero_init_last_norm": False},
    "blocks passed by": SILU | {"drop_path": 0.3},
    "GC, norms trained": TRAINED | BEHIND_2 | {"attention": "GC"},
    "BAT, norms trained": TRAINED | BEHIND_2 | {"attention": "BAT"},
    "BAT, behind the third": SILU | {"attention": "BAT", "attention_after": 3},
    "GC and ReLU": BEHIND_2 | {"attention": "GC", "norm_eval": True, "frozen_stages": 1},
    **{kind: SILU | BEHIND_2 | {"attention": kind} for kind in ATTENTION},
}


FEW = {"SiLU", "SiLU, norms trained", "pooled shortcuts", "GC", "BAT", "BAT, norms trained"}
"""In them is all that the others have."""


def by_modules(network: ResNeXt) -> ResNeXt:
    """Returns a copy whose modules have hooks, and are called one after the other."""
    found = type(network)(network.architecture, fold_norm=False, channels_last=False)
    found.load_state_dict(network.state_dict())
    for name, module in found.named_modules():
        module.register_forward_hook(lambda *_: None)
        module.train(network.get_submodule(name).training)
    for own, other in zip(found.parameters(), network.parameters(), strict=True):
        own.requires_grad_(other.requires_grad)
    for own, other in zip(found.blocks(), network.blocks(), strict=True):
        own.drop_path = other.drop_path
    return found.to(next(network.parameters()).dtype)


def network(**options: Any) -> ResNeXt:
    return small(**options).double()


def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 96, dtype=torch.float64)


def seeded(run: Callable[[Any, Tensor], Any], model: nn.Module, x: Tensor) -> Any:
    """Runs it with chances as they are after a seed."""
    torch.manual_seed(0)
    return run(model, x)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    assert found.keys() == expected.keys()
    # Some are zero but for rounding, such as that of the bias in front of GC's softmax.
    least = 1e-3 * max(e.abs().max() for e in expected.values())
    assert least > 0
    errors = {name: (found[name] - e).abs().max() for name, e in expected.items()}
    return all(e <= 1e-10 * max(least, expected[name].abs().max()) for name, e in errors.items())


@pytest.mark.parametrize("name", quick(NETWORKS, FEW))
def test_every_gradient(name: str) -> None:
    own = network(**NETWORKS[name])
    plain, x = by_modules(own), images()
    assert same(seeded(gradients, own, x), seeded(gradients, plain, x))
    for a, b in zip(own.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b) or relative_error(a, b) <= 1e-12  # statistics count a batch once


@pytest.mark.parametrize(
    ("options", "most"),
    [({"norm_eval": True, "frozen_stages": 1}, 1.005), ({"norm_eval": False}, 1.005)],
    ids=str,
)
def test_silu_and_attention_keep_what_relu_keeps(options: dict, most: float) -> None:
    """As the networks of timm's that have them: two blocks a stage, attention behind the 3x3."""
    x = torch.randn(1, 3, 192, 256)
    shape = {"blocks": (2, 2, 2, 2), "cardinality": 2, "base_width": 32, "fixed_width": True}
    common = {"base_channels": 64, "stem": "tiered", **BEHIND_2, **shape, **options}

    def size(**options: Any) -> int:
        model = small(**common, **options)
        return kept_bytes(model, lambda: model(x))

    relu, silu = size(), size(activation="SiLU")
    assert silu <= most * relu
    for kind in ATTENTION:
        assert size(attention=kind, activation="SiLU") <= most * silu, kind
    assert size(attention="GC") <= most * relu


def test_attention_behind_the_third_convolution_keeps_its_input() -> None:
    x, options = torch.randn(1, 3, 192, 256), {"norm_eval": True, "frozen_stages": 1}
    shape = {"blocks": (3, 4, 6, 3), "cardinality": 32, "base_channels": 64}
    plain, *found = (
        kept_bytes(model, lambda model=model: model(x))
        for model in (small(**shape, **options, attention=kind) for kind in ("", *ATTENTION))
    )
    assert max(found) <= 1.4 * plain


@pytest.mark.parametrize("mode", ["inner", "block", "pair"])
@pytest.mark.parametrize("attention", ["", "SE"])
def test_recompute_keeps_as_little(mode: str, attention: str) -> None:
    x = torch.randn(1, 3, 192, 256)
    options = {"norm_eval": True, "frozen_stages": 1, "blocks": (2, 2, 4, 2)}
    sizes = [
        kept_bytes(model, lambda model=model: model(x))
        for model in (
            small(recompute=mode, **options),
            small(recompute=mode, activation="SiLU", attention=attention, **BEHIND_2, **options),
        )
    ]
    assert sizes[1] <= 1.05 * sizes[0]


def test_nothing_is_left_behind() -> None:
    """Outputs inside go when the next block has them, and all go after the backward pass."""
    model = network(**SILU, **BEHIND_2, attention="SE")
    inside: list[weakref.ref] = []
    for block in model.blocks():
        block.register_forward_hook(lambda _, __, y: inside.append(weakref.ref(y)))
    outputs = model(images())
    assert [ref() is None for ref in inside] == [False, False, True, False, False]
    assert len(kept._recipes) == 4
    sum(output.sum() for output in outputs).backward()
    del outputs
    assert not any(ref() is not None for ref in inside)
    assert len(kept._recipes) == 0


def test_a_record_of_what_is_saved_can_go() -> None:
    """Hooks that hold what they were given are not held in turn."""
    model, saved = network(**SILU), []
    with saved_tensors_hooks(lambda t: saved.append(t.detach()) or t.detach(), lambda t: t):
        outputs = model(images())
    found = weakref.ref(saved[0])
    saved.clear()
    del outputs
    gc.collect()
    assert found() is None
    assert len(kept._recipes) == 0


def test_outputs_are_stored_as_any_tensor() -> None:
    stored = io.BytesIO()
    outputs = small(**SILU)(torch.randn(1, 3, 64, 64))
    torch.save(outputs, stored)
    size = sum(output.nbytes for output in outputs)
    assert stored.tell() <= size + 10_000
    stored.seek(0)
    assert all(map(torch.equal, torch.load(stored, weights_only=True), outputs))


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
        parameter.requires_grad_("attn" in name)
    return gradients(model, x)


def hooked(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    calls: list[nn.Module] = []
    for block in model.blocks():
        block.attn.register_forward_hook(lambda module, *_: calls.append(module))
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


QUICK = {("BAT", checkpointed), ("BAT", kept_graph), ("GC, norms trained", twice)}


@pytest.mark.parametrize(
    ("name", "use"),
    [
        pytest.param(name, use, marks=[] if name == "SE" or (name, use) in QUICK else WHOLE)
        for name in ("SE", "BAT", "GC, norms trained")
        for use in USES
    ],
)
def test_by_other_rules(name: str, use: Callable) -> None:
    own = network(**NETWORKS[name])
    plain, x = by_modules(own), images()
    assert same(seeded(use, own, x), seeded(use, plain, x))


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
