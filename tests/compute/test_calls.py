"""Each way of the table computes what PyTorch's convolution does."""

from __future__ import annotations

import pytest
import torch
from helpers import EveryLayer, relative_error
from torch import Tensor
from torch.nn import functional as F

from resnext_backbones.compute import ways
from resnext_backbones.compute.calls import PLAIN, WAYS, Layer
from resnext_backbones.compute.convolution import conv2d, gradients
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import Ways

LAYERS = {
    "1x1": ((8, 12, 1, 1), Geometry((1, 1), (0, 0), (1, 1), 1)),
    "grouped": ((64, 4, 3, 3), Geometry((2, 1), (1, 1), (1, 1), 16)),
}
ORDERS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
CASES = {
    f"{layer}, {order}, {way}": (layer, ORDERS[order], way)
    for layer, known in LAYERS.items()
    for order in ORDERS
    for way in WAYS
    if Layer("cpu", torch.float32, order == "channels last", *known).has(way)
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list:
    """Input, weight, bias and geometry of a layer, in doubles, and the way that is in force."""
    name, order, way = CASES[request.param]
    table = EveryLayer(lambda _: Ways(way, way, way))
    monkeypatch.setattr(ways, "_tables", {"cpu": table})
    weight, geometry = LAYERS[name]
    shapes = (2, weight[1] * geometry.groups, 6, 7), weight, (weight[0],)
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    tensors[0] = tensors[0].contiguous(memory_format=order)
    return [*(tensor.requires_grad_() for tensor in tensors), geometry, way]


def test_every_way_is_tried() -> None:
    assert {way for _, _, way in CASES.values()} == set(WAYS)
    assert next(iter(WAYS)) == PLAIN


def test_the_same_output_and_gradients(case: list) -> None:
    *inputs, geometry, way = case
    expected = F.conv2d(*inputs, *geometry)
    own = conv2d(*inputs, geometry)
    if inputs[0].is_contiguous(memory_format=torch.channels_last):
        assert own.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(own, expected) <= 1e-13
    assert (own.grad_fn.name() == "_Conv2dBackward") == (way != PLAIN), "compared with itself"
    upstream = torch.randn_like(expected)
    pairs = zip(
        torch.autograd.grad(own, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    )
    assert all(a.shape == b.shape and relative_error(a, b) <= 1e-12 for a, b in pairs)


def test_first_and_second_derivatives(case: list) -> None:
    *inputs, geometry, _ = case

    def convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv2d(x, weight, bias, geometry)

    assert torch.autograd.gradcheck(convolution, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolution, inputs, fast_mode=True)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_is_added_to_the_gradient_of_the_input(dtype: torch.dtype, case: list) -> None:
    """Nothing that was given changes."""
    *inputs, geometry, way = case
    x, weight, _ = (tensor.detach().to(dtype) for tensor in inputs)
    given = [torch.randn_like(F.conv2d(x, weight, None, *geometry)), x, weight, torch.randn_like(x)]
    before = [tensor.clone() for tensor in given]
    *operands, onto = given
    found, *others = gradients(*operands, geometry, way, (True, False, False), onto)
    assert others == [None, None]
    assert all(map(torch.equal, given, before))
    exact = [tensor.double() for tensor in operands]
    alone = gradients(*exact, geometry, PLAIN, (True, False, False))[0]
    assert found.dtype == dtype
    assert found.data_ptr() != onto.data_ptr()
    assert relative_error(found.double(), alone + onto) <= 2 * torch.finfo(dtype).eps


@torch.no_grad()
def test_what_is_no_number_stays_none(case: list) -> None:
    *inputs, geometry, _ = case
    x, weight, bias = (tensor.detach().float() for tensor in inputs)
    x[0, :, 2, 3] = torch.nan
    own, expected = conv2d(x, weight, bias, geometry), F.conv2d(x, weight, bias, *geometry)
    assert torch.equal(own.isnan(), expected.isnan())
    assert own.isnan().any()
    assert not own.isnan().all()


def test_no_images_have_no_features(case: list) -> None:
    x, weight, bias, geometry, _ = case
    y = conv2d(x[:0], weight, bias, geometry)
    assert y.shape == F.conv2d(x[:0], weight, bias, *geometry).shape
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), (weight, bias)))
