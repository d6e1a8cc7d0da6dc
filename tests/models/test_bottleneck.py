"""What a block does in training beside its arithmetic: recomputing, and being passed by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import PARTS, randomise, relative_error, small
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.memory import kept_bytes
from resnext_backbones import build_backbone
from resnext_backbones.models import Plugin, bottleneck, recompute

MODES = sorted(set(recompute.MODES.values()) - {""})


def both(mode: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    """A network that keeps everything, and one that computes again what `mode` says."""
    plain = small(**options).double()
    again = small(recompute=mode, **options).double()
    again.load_state_dict(plain.state_dict())
    return plain, again


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {"norm": "BN"},
        {"norm": "SyncBN"},
        {"norm_eval": True, "frozen_stages": 1},
        {"norm_eval": True, "stem": "deep", "shortcut": "pooled", "drop_path": 0.3},
        {"norm_eval": True, "activation": "SiLU", "attention": "SE"},
        *PARTS.values(),
    ],
    ids=str,
)
def test_what_is_computed_again_is_the_same(options: dict, mode: str) -> None:
    plain, again = both(mode, blocks=(1, 2, 3, 1), **options)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for model in (plain, again):
        torch.manual_seed(0)  # of the blocks that are passed by
        sum(output.pow(2).mean() for output in model(images)).backward()
    for (name, value), reference in zip(again.named_parameters(), plain.parameters(), strict=True):
        assert (value.grad is None) == (reference.grad is None), name
        assert value.grad is None or torch.equal(value.grad, reference.grad), name
    for (name, value), reference in zip(again.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(value, reference), f"{name}: counted twice"
    norms = [m for m in again.modules() if isinstance(m, _BatchNorm) and m.training]
    assert all(m.momentum == 0.1 and m.num_batches_tracked == 1 for m in norms)


def test_a_shortcut_may_lose_its_norm() -> None:
    network, images = small().eval(), torch.randn(1, 3, 64, 64)
    del network.layer1[0].downsample[1]
    block, x = network.layer1[0], network.forward_stem(images)
    assert torch.equal(block.downsample(x), block.downsample[0](x))
    assert len(network(images)) == 4


KEPT = {"inner": 0.36, "block": 0.25, "pair": 0.15}
"""At most so much of what MMDetection's network keeps, which is twice what is kept by default."""


@pytest.mark.parametrize("frozen_stages", [1, 4])
def test_what_is_kept(frozen_stages: int) -> None:
    images = torch.randn(1, 3, 192, 256)  # so that statistics count for nothing beside it
    options = {"norm_eval": True, "frozen_stages": frozen_stages}
    kept: dict[Any, int] = {}
    for mode in (False, *MODES):
        with torch.device("meta"):
            model = build_backbone("resnext101_32x4d", recompute=mode, **options)
        randomise(model).train()
        kept[mode] = kept_bytes(model, lambda model=model: model(images))
    everything = kept.pop(False)
    assert (everything == 0) == (frozen_stages == 4)
    assert all(size <= KEPT[mode] * 2 * everything for mode, size in kept.items())


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_folds_blocks_keep_their_inputs(mode: str) -> None:
    plain, again = both(mode, blocks=(2, 2, 2, 2), frozen_stages=2)
    images = torch.randn(1, 3, 256, 256, dtype=torch.float64)
    everything, kept = (kept_bytes(m, lambda m=m: m(images)) for m in (plain, again))
    assert kept < 0.4 * everything


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.whole)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("norm_eval", [True, False])
def test_in_bfloat16_and_compiled(mode: str, norm_eval: bool, compiled: bool) -> None:
    plain, again = (model.float() for model in both(mode, norm_eval=norm_eval))
    images = torch.randn(2, 3, 64, 64)
    torch._dynamo.reset()
    run = torch.compile(again, backend="aot_eager", fullgraph=True) if compiled else again
    for model in (plain, run):
        with torch.autocast("cpu", torch.bfloat16):
            sum(output.pow(2).mean() for output in model(images)).backward()
    for (name, value), reference in zip(again.named_parameters(), plain.parameters(), strict=True):
        error = relative_error(value.grad, reference.grad)
        assert error <= 0.05 if compiled else error == 0, name
    for (name, value), reference in zip(again.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(value, reference, rtol=0.02, atol=0.02, msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("norm_eval", [True, False])
def test_backward_under_autocast_and_again(mode: str, norm_eval: bool) -> None:
    plain, again = (m.float() for m in both(mode, norm_eval=norm_eval, zero_init_last_norm=False))
    images = torch.randn(2, 3, 64, 64)
    for model in (plain, again):
        loss = sum(output.pow(2).mean() for output in model(images))
        with torch.autocast("cpu", torch.bfloat16):
            loss.backward(retain_graph=True)
        loss.backward()
    for (name, value), reference in zip(again.named_parameters(), plain.parameters(), strict=True):
        assert relative_error(value.grad, reference.grad) <= 1e-5, name
    norms = [m for m in again.modules() if isinstance(m, _BatchNorm) and m.training]
    assert all(m.momentum == 0.1 and m.num_batches_tracked == 1 for m in norms)


@pytest.mark.parametrize("mode", MODES)
def test_modules_that_are_watched_or_replaced_are_called(mode: str) -> None:
    model = small(recompute=mode, blocks=(1, 2, 2, 1), norm_eval=True)
    seen: list[nn.Module] = []
    for block in (*model.layer2, model.layer4[-1]):
        block.register_forward_hook(lambda module, *_: seen.append(module))
    model.layer2[1].register_full_backward_hook(lambda module, *_: seen.append(module))
    model.layer3[1] = nn.Identity()
    sum(output.square().mean() for output in model(torch.randn(1, 3, 64, 64))).backward()
    assert seen == [*model.layer2, model.layer4[-1], model.layer2[1]]


def test_a_mode_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"recompute must be one of .*inner.*pair"):
        small(recompute="half")


@pytest.mark.parametrize("mode", ["", *MODES])
def test_a_networks_mode_is_one_that_it_takes(mode: str) -> None:
    network = small(recompute=mode)
    network.set_recompute(network.recompute) if mode != "pair" else None
    assert small(recompute=network.recompute).recompute == mode


@pytest.mark.parametrize("activation", ["ReLU", "SiLU"])
def test_what_attention_gives_may_be_kept_more_than_once(activation: str) -> None:
    """Behind it may stand a module that saves its input for two operators."""

    twice = Plugin(2, lambda _: ("more", nn.LocalResponseNorm(2)))
    options = {"attention": "SE", "attention_after": 2, "activation": activation}
    network = small(**options, plugins=[[twice]] * 4).double()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    found = []
    for attended in (recompute.attended, lambda module, x: module(x)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bottleneck, "attended", attended)
            maps = network(images)
        loss = sum(output.square().mean() for output in maps)
        gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
        again = torch.autograd.grad(loss, list(network.parameters()))
        assert all(map(torch.equal, gradients, again))
        found.append(gradients)
    assert all(map(torch.equal, *found))


def test_the_chance_to_be_passed_by_grows_block_by_block() -> None:
    model = small(blocks=(2, 2, 1), drop_path=0.4)
    chances = [block.drop_path.p if block.drop_path else 0.0 for block in model.blocks()]
    assert chances == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_block_that_is_passed_by_gives_its_shortcut() -> None:
    torch.manual_seed(0)
    model = small(drop_path=0.5)
    block = model.layer4[-1]
    block.drop_path.p = 1 - 1e-9
    x = torch.rand(2, block.conv1.in_channels, 8, 8)
    shortcut = torch.relu(block.downsample(x))
    assert relative_error(block(x), shortcut) <= 1e-6
    assert relative_error(block.eval()(x), shortcut) > 0.1


def test_in_evaluation_no_block_is_passed_by() -> None:
    images = torch.randn(2, 3, 64, 64)
    plain, dropping = small().eval(), small(drop_path=0.5).eval()
    dropping.load_state_dict(plain.state_dict())
    for a, b in zip(plain(images), dropping(images), strict=True):
        assert torch.equal(a, b)


def test_on_average_the_branch_keeps_its_size() -> None:
    torch.manual_seed(0)
    block = small(drop_path=0.25).layer4[-1]
    x = torch.rand(4096, block.conv1.in_channels, 1, 1)
    kept = block.drop_path(torch.ones_like(x))
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert sorted(set(kept[:, 0, 0, 0].tolist())) == pytest.approx([0, 1 / 0.75])
