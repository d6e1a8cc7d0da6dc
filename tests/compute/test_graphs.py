"""Steps as CUDA graphs: the same values, and no graph where one would be wrong."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graphed import images, trunk
from helpers import relative_error
from torch import Tensor, nn

from resnext_backbones import ResNeXt
from resnext_backbones.compute import graphs

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are of GPUs")


def plain_twin(network: ResNeXt) -> ResNeXt:
    twin = copy.deepcopy(network)
    twin.cuda_graphs = False
    return twin


def step(network: ResNeXt, given: Tensor, half: torch.dtype | None = None) -> list[Tensor]:
    """Maps and gradients."""
    network.zero_grad()
    with torch.autocast("cuda", half, enabled=half is not None):
        maps = network(given)
    torch.autograd.backward(
        [found for found in maps if found.requires_grad],
        [torch.ones_like(found) for found in maps if found.requires_grad],
    )
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    return [*(found.detach().clone() for found in maps), *grads]


def captured(network: ResNeXt) -> int:
    graphs_of = vars(network).get("_graphs")
    return 0 if graphs_of is None else len(graphs_of._captured)


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) <= 1e-6  # atomic additions come in any order


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all trained": {"frozen_stages": -1},
    "stage 1 frozen": {"frozen_stages": 1},
    "SE": {"attention": "SE"},
    "SiLU": {"activation": "SiLU"},
    "deep stem": {"stem": "deep", "shortcut": "pooled"},
}


@on_gpu
@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_several_shapes_are_the_plain_ones(kind: str, half: torch.dtype | None) -> None:
    network = trunk("cuda", **KINDS[kind])
    twin = plain_twin(network)
    optimizers = [torch.optim.SGD(n.parameters(), lr=1e-4) for n in (network, twin)]
    for number in range(8):
        given = images(width=(96, 64, 96, 128)[number % 4], seed=number)
        assert_same(step(network, given, half), step(twin, given, half))
        for optimizer in optimizers:
            optimizer.step()
    assert captured(network) == 3
    with torch.inference_mode():
        for number in range(3):
            given = images(seed=number)
            assert_same(list(network.eval()(given)), list(twin.eval()(given)))
    assert captured(network) == 4


@on_gpu
@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_a_run_with_graphs_repeats_one_without_bit_for_bit(
    half: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    network = trunk("cuda")
    if half is None:  # else PyTorch fills memory that is empty
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    twin = plain_twin(network)
    try:
        for number in range(6):
            given = images(width=(96, 64)[number % 2], seed=number)
            for one, other in zip(step(network, given, half), step(twin, given, half), strict=True):
                assert torch.equal(one, other)
    finally:
        torch.use_deterministic_algorithms(False)
    assert captured(network) == 2


@on_gpu
def test_maps_that_a_loss_does_not_use_give_no_gradients() -> None:
    network, twin = ready(blocks=(1, 1, 1))
    for used in (0, 1, 2):
        found = []
        for each in (network, twin):
            each.zero_grad()
            each(images(seed=used))[used].sum().backward()
            found.append({n: p.grad for n, p in each.named_parameters() if p.grad is not None})
        assert found[0].keys() == found[1].keys()
        assert_same(*(list(grads.values()) for grads in found))


@on_gpu
def test_parameters_that_are_moved_before_the_backward_pass() -> None:
    network, _ = ready()
    loss = sum(m.sum() for m in network(images()))
    weight = network.layer2[0].conv1.weight
    weight.data = weight.data.clone()
    with pytest.raises(RuntimeError, match="parameters lie elsewhere"):
        loss.backward()


@on_gpu
def test_a_step_on_another_stream_goes_without() -> None:
    network, twin = ready()
    expected = step(twin, images(seed=1))
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()), pytest.warns(UserWarning, match="another stream"):
        found = step(network, images(seed=1))
    torch.cuda.synchronize()
    assert_same(found, expected)


def ready(**fields: Any) -> tuple[ResNeXt, ResNeXt]:
    """A network that has graphs of the usual images, and its twin without."""
    network = trunk("cuda", **fields)
    twin = plain_twin(network)
    for _ in range(3):
        step(network, images())
    assert captured(network) == 1
    return network, twin


@on_gpu
def test_maps_that_somebody_has_are_left_alone() -> None:
    network, twin = ready()
    first = network(images(seed=1))
    held = first[1][:, :5].detach()
    expected = held.clone()
    sum(found.sum() for found in first).backward()
    del first
    found = step(network, images(seed=2))
    assert torch.equal(held, expected)
    assert_same(found, step(twin, images(seed=2)))
    del held
    assert_same(step(network, images(seed=3)), step(twin, images(seed=3)))


@on_gpu
def test_two_forward_passes_before_a_backward_pass() -> None:
    """Of the first one nobody has the maps, but its gradients are yet to come."""
    network, twin = ready()
    grads = []
    for each in (network, twin):
        each.zero_grad()
        losses = [sum(m.sum() for m in each(images(seed=seed))) for seed in (1, 2)]
        sum(losses).backward()
        grads.append([p.grad for p in each.parameters() if p.grad is not None])
    assert_same(*grads)


@on_gpu
def test_what_a_graph_cannot_do_is_an_error() -> None:
    network, _ = ready()
    loss = sum(m.sum() for m in network(images()))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="set cuda_graphs=False"):
        loss.backward()
    maps = network(images())
    maps[-1].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sum(m.sum() for m in maps).backward()
    del maps
    maps = network(images())
    with torch.no_grad():
        next(p for p in network.parameters() if p.requires_grad).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sum(m.sum() for m in maps).backward()


@on_gpu
def test_gradients_that_somebody_keeps() -> None:
    network, twin = ready()
    trained = [[p for p in each.parameters() if p.requires_grad] for each in (network, twin)]
    kept = []
    for each, parameters in zip((network, twin), trained, strict=True):
        loss = sum(m.sum() for m in each(images(seed=1)))
        kept.append(torch.autograd.grad(loss, parameters))
    step(network, images(seed=2))
    assert_same(*map(list, kept))


@on_gpu
def test_copies_and_files_have_no_graphs() -> None:
    network, twin = ready()
    torch.save(network, file := io.BytesIO())
    file.seek(0)
    for each in (copy.deepcopy(network), torch.load(file, weights_only=False)):
        assert captured(each) == 0
        assert_same(step(each, images()), step(twin, images()))


def replace_weight(conv: nn.Conv2d) -> None:
    conv.weight = nn.Parameter(conv.weight.detach() * 2)


@on_gpu
def test_another_module_or_number_is_another_graph() -> None:
    network, twin = ready()
    changes: list[Callable[[ResNeXt], Any]] = [
        lambda each: setattr(each.bn1, "eps", 0.5),
        lambda each: each.layer1[0].conv1.requires_grad_(False),
        lambda each: replace_weight(each.layer2[0].conv1),
        lambda each: each.layer1[1].register_forward_hook(lambda *_: torch.zeros(1, device="cuda")),
    ]  # fmt: skip
    for change in changes[:-1]:
        for each in (network, twin):
            change(each)
        for seed in range(3):
            assert_same(step(network, images(seed=seed)), step(twin, images(seed=seed)))
    assert captured(network) == len(changes)
    changes[-1](network)
    reason = r"computed without, since it has hooks on a module: layer1\.1"
    with pytest.warns(UserWarning, match=reason), pytest.raises(RuntimeError):
        network(images())


@on_gpu
def test_gradients_that_processes_share(tmp_path: Path) -> None:
    """DistributedDataParallel in one process: its hooks stand behind the graphs' gradients."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
    try:
        network = trunk("cuda")
        twin = plain_twin(network)
        shared: Any = nn.parallel.DistributedDataParallel(network, device_ids=[0])
        for number in range(6):
            for each in (shared, twin):
                each.zero_grad()
                sum(m.float().square().mean() for m in each(images(seed=number))).backward()
            grads = [[p.grad for p in n.parameters() if p.requires_grad] for n in (network, twin)]
            assert_same(*grads)
        assert captured(network) == 1
    finally:
        torch.distributed.destroy_process_group()


def test_elsewhere_nothing_is_captured() -> None:
    network = trunk()
    given = images(device="cpu")
    expected = plain_twin(network)(given)
    for _ in range(3):
        for one, other in zip(network(given), expected, strict=True):
            assert torch.equal(one, other)
    assert captured(network) == 0


def test_a_pickle_begins_anew() -> None:
    found = graphs.Graphs()
    found._steps = 3
    for copied in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert copied._steps == 0
