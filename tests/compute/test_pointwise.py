"""Gradients by matrix products against PyTorch's convolution."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from helpers import EveryLayer, relative_error
from torch import nn
from torch.nn import functional as F

from resnext_backbones.compute import pointwise
from resnext_backbones.compute import ways as tables
from resnext_backbones.compute.calls import ONEDNN, PRODUCT, WAYS
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import Ways

PLAIN = Geometry((1, 1), (0, 0), (1, 1), 1)


@pytest.fixture(autouse=True)
def _always(monkeypatch) -> None:
    products = EveryLayer(lambda layer: Ways(*[layer.ways()[-1]] * 3))
    monkeypatch.setattr(tables, "_tables", {"cpu": products})


@pytest.fixture
def calls(monkeypatch) -> list[bool]:
    """One for each time that the products were computed."""
    made: list[bool] = []

    def watched(*args):
        made.append(True)
        return pointwise.product_gradients(*args)

    monkeypatch.setitem(WAYS, PRODUCT, WAYS[PRODUCT]._replace(gradients=watched))
    return made


def tensors(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    x = torch.randn(2, 12, 5, 7, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(8, 12, 1, 1, dtype=dtype), torch.randn(8, dtype=dtype)
    return tuple(tensor.requires_grad_() for tensor in (x, weight, bias))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_same_gradients(layout: torch.memory_format, calls: list[bool]) -> None:
    """Whatever the memory format of the gradient that comes back."""
    inputs = tensors(torch.float64)
    reference = F.conv2d(*inputs)
    upstream = torch.randn_like(reference).contiguous(memory_format=layout)
    expected = torch.autograd.grad(reference, inputs, upstream)
    own = torch.autograd.grad(conv2d(*inputs, PLAIN), inputs, upstream)
    assert calls
    for a, e in zip(own, expected, strict=True):
        assert a.shape == e.shape
        assert relative_error(a, e) <= 1e-13
    assert own[0].is_contiguous(memory_format=torch.channels_last)


def test_the_same_output() -> None:
    x, weight, bias = tensors(torch.float64)
    for given in (bias, None):
        own = conv2d(x, weight, given, PLAIN)
        assert relative_error(own, F.conv2d(x, weight, given)) <= 1e-13
        assert own.is_contiguous(memory_format=torch.channels_last)


def test_only_what_is_needed() -> None:
    x, weight, _ = tensors()
    grad = torch.randn(2, 8, 5, 7)
    for needed in [(True, False, False), (False, True, False), (False, False, True)]:
        found = conv2d_backward(grad, x, weight, PLAIN, needed)
        assert tuple(value is not None for value in found) == needed


@pytest.mark.parametrize(
    ("kernel", "geometry"),
    [
        (1, PLAIN._replace(stride=(2, 2))),
        (1, PLAIN._replace(padding=(1, 1))),
        (1, PLAIN._replace(groups=2)),
        (3, PLAIN._replace(padding=(1, 1))),
    ],
)
def test_anything_else_is_a_convolution(kernel: int, geometry: Geometry, calls: list[bool]) -> None:
    x = tensors()[0]
    weight = torch.randn(8, 12 // geometry.groups, kernel, kernel, requires_grad=True)
    own = conv2d(x, weight, None, geometry)
    reference = F.conv2d(x, weight, None, *geometry)
    upstream = torch.randn_like(reference)
    pairs = zip(
        torch.autograd.grad(own, (x, weight), upstream),
        torch.autograd.grad(reference, (x, weight), upstream),
        strict=True,
    )
    assert all(relative_error(a, e) <= 1e-5 for a, e in pairs)
    assert not calls


@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.whole)]
)
@pytest.mark.parametrize("way", [PRODUCT, ONEDNN])
def test_compiles_once_for_few_and_many_pixels(way: str, backend: str, monkeypatch) -> None:
    """PyTorch's compiler sums 4096 values or more by other code than fewer.

    Its convolutions have such a limit of their own, which all of these sizes lie above.
    """
    if backend == "inductor" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    torch._dynamo.reset()
    monkeypatch.setattr(tables, "_tables", {"cpu": EveryLayer(lambda _: Ways(way, way, way))})
    weight, bias = nn.Parameter(torch.randn(8, 12, 1, 1)), nn.Parameter(torch.zeros(8))

    def product(x: torch.Tensor) -> torch.Tensor:
        return conv2d(x, weight, bias, PLAIN)

    compiled = torch.compile(product, backend=backend, dynamic=True)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for size in [(50, 60), (80, 90), (48, 70)]:
        x = torch.randn(1, 12, *size).contiguous(memory_format=torch.channels_last)
        upstream = torch.ones(1, 8, *size)
        own = torch.autograd.grad(compiled(x), (weight, bias), upstream)
        for a, e in zip(
            own,
            torch.autograd.grad(F.conv2d(x, weight, bias), (weight, bias), upstream),
            strict=True,
        ):
            assert relative_error(a, e) <= 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1
