"""The folded weights of frozen stages, which are kept."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers import relative_error, small
from torch import nn

from benchmarks.memory import kept_bytes
from resnext_backbones.compute import folding as module


def folds(monkeypatch) -> list[nn.Parameter]:
    """Fills as weights are folded."""
    calls: list = []
    fold = module.Folding.fold
    monkeypatch.setattr(
        module.Folding, "fold", lambda self, dtype: calls.append(self) or fold(self, dtype)
    )
    return calls


CHANGES = {
    "loaded": lambda m: m.load_state_dict({k: v * 1.5 for k, v in m.state_dict().items()}),
    "in place": lambda m: m.conv1.weight.mul_(1.5),
    "statistics": lambda m: m.bn1.running_mean.add_(0.5),
    "put elsewhere": lambda m: setattr(m.conv1.weight, "data", m.conv1.weight.data * 1.5),
    "moved and back": lambda m: m.to(torch.bfloat16).float(),
    "replaced": lambda m: setattr(m.bn1, "weight", nn.Parameter(m.bn1.weight * 2, False)),
    "data, then a mode": lambda m: (m.conv1.weight.data.mul_(1.5), m.train()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_frozen_weights_are_folded_once_until_they_change(monkeypatch, change: str) -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64)
    model(images)
    calls = folds(monkeypatch)
    before = model(images)
    assert not calls
    with torch.no_grad():
        CHANGES[change](model)
    after = model(images)
    assert calls
    plain = copy.deepcopy(model)
    for part in plain.modules():
        part.fold_norm = part.fold = False
    for a, b, old in zip(after, plain(images), before, strict=True):
        assert relative_error(a, b) <= 1e-5
        assert not torch.equal(a, old)


def test_images_that_need_a_gradient_fold_no_more_often(monkeypatch) -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    model(images)
    calls = folds(monkeypatch)
    model(images)[-1].sum().backward()
    assert not calls


def test_what_was_thawed_is_held_no_more() -> None:
    model = small(frozen_stages=1)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        model.layer1[0].conv1.weight.data.mul_(3)
        after = model(images)
    assert not torch.equal(before[0], after[0])


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_graph_outlives_what_is_kept() -> None:
    model, images = small(frozen_stages=4).cuda(), torch.randn(1, 3, 64, 64, device="cuda")
    expected = model(images)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = model(images)
    model.train()  # which throws the folded weights away
    filler = [torch.full((1 << 20,), 1e3, device="cuda") for _ in range(64)]
    graph.replay()
    assert filler
    assert all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(outputs, expected, strict=True))


def test_frozen_stages_keep_nothing_and_travel_light() -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64)
    outputs = model(images)
    assert not any(output.requires_grad for output in outputs)
    assert kept_bytes(model, lambda: model(images)) == 0
    fresh = len(pickle.dumps(small(frozen_stages=4)))
    assert abs(len(pickle.dumps(model)) - fresh) < 1000
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert all(torch.equal(a, b) for a, b in zip(twin(images), outputs, strict=True))


def test_weights_folded_in_inference_mode_serve_training() -> None:
    model = small(frozen_stages=4)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        model(images)
    images.requires_grad_()
    model(images)[-1].sum().backward()
    assert images.grad is not None
