"""Grouped convolutions with merged groups against PyTorch's plain call."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import EveryLayer, relative_error
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from resnext_backbones.compute import ways as tables
from resnext_backbones.compute.calls import MERGED
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import Ways
from resnext_backbones.compute.ways import ways_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

TWO, FOUR, EIGHT, _ = MERGED
WAYS = [Ways(), Ways(TWO, FOUR, EIGHT), Ways(EIGHT, EIGHT, EIGHT), Ways(grad_weight=FOUR)]
SMALL = [Geometry((1, 1), (1, 1), (1, 1), 8), Geometry((2, 2), (2, 2), (2, 2), 8)]
UNEVEN = Geometry((2, 1), (0, 2), (1, 2), 8)


def table(monkeypatch: pytest.MonkeyPatch, ways: Ways) -> None:
    """Computes all grouped convolutions in these ways."""
    monkeypatch.setattr(tables, "_tables", {DEVICE: EveryLayer(lambda _: ways)})
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def tensors(groups: int, size: tuple[int, int] = (9, 11)) -> list[torch.Tensor]:
    """An input, a weight and a bias of 4 channels a group."""
    channels = 4 * groups
    shapes = (2, channels, *size), (channels, 4, 3, 3), (channels,)
    return [torch.randn(shape, device=DEVICE, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("ways", WAYS, ids=str)
@pytest.mark.parametrize("geometry", [*SMALL, UNEVEN], ids=str)
def test_same_outputs_and_gradients(geometry: Geometry, ways: Ways, monkeypatch) -> None:
    table(monkeypatch, ways)
    x, weight, bias = tensors(8)
    assert ways_of(x, weight, geometry) == ways, "the plain call is compared with itself"
    own = conv2d(x, weight, bias, geometry)
    reference = F.conv2d(x, weight, bias, *geometry)
    assert relative_error(own, reference) <= 1e-6
    upstream = torch.randn_like(reference)
    expected = torch.autograd.grad(reference, (x, weight, bias), upstream)
    by_autograd = torch.autograd.grad(own, (x, weight, bias), upstream)
    by_hand = conv2d_backward(upstream, x, weight, geometry, (True,) * 3)
    for a, b, e in zip(by_autograd, by_hand, expected, strict=True):
        assert b is not None
        assert e.any()
        assert relative_error(a, e) <= 1e-5
        assert relative_error(b, e) <= 1e-5


@pytest.mark.parametrize("needed", list(itertools.product((False, True), repeat=3)), ids=str)
def test_only_the_gradients_that_are_asked_for(needed: tuple[bool, ...], monkeypatch) -> None:
    table(monkeypatch, WAYS[2])
    x, weight, _ = tensors(8)
    upstream = torch.randn_like(F.conv2d(x, weight, None, *SMALL[0]))
    found = conv2d_backward(upstream, x.detach(), weight.detach(), SMALL[0], needed)
    assert [gradient is not None for gradient in found] == list(needed)


@pytest.mark.parametrize("ways", WAYS[1:], ids=str)
def test_gradients_by_finite_differences(ways: Ways, monkeypatch) -> None:
    table(monkeypatch, ways)
    x = torch.randn(1, 32, 4, 4, dtype=torch.float64, device=DEVICE, requires_grad=True)
    weight = torch.randn(32, 4, 3, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight: conv2d(x, weight, None, SMALL[0]),
        (x, weight),
        fast_mode=True,
        nondet_tol=1e-12,  # cuDNN sums up in double precision in any order
    )


@pytest.mark.parametrize("ways", WAYS[2:], ids=str)
def test_compiled_without_a_break_for_any_size(ways: Ways, monkeypatch) -> None:
    table(monkeypatch, ways)
    graphs = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()

    def step(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv2d(x, weight, None, SMALL[1])

    compiled = torch.compile(step, backend=graphs, fullgraph=True, dynamic=True)
    for size in ((9, 11), (12, 8), (7, 14)):
        x, weight = tensors(8, size)[0], nn.Parameter(tensors(8)[1].detach())
        pairs = []
        for function in (step, compiled):
            y = function(x, weight)
            pairs.append([y, *torch.autograd.grad(y.square().sum(), (x, weight))])
        for a, b in zip(*pairs, strict=True):
            assert relative_error(a, b) <= 1e-6
    assert graphs.frame_count == 1


def test_wrong_channels_are_left_to_pytorch(monkeypatch) -> None:
    table(monkeypatch, WAYS[2])
    x, weight, _ = tensors(8)
    with pytest.raises(RuntimeError, match="channels"):
        conv2d(x[:, :24], weight, None, SMALL[0])


def test_no_images_have_no_features(monkeypatch) -> None:
    table(monkeypatch, WAYS[2])
    x, weight, bias = tensors(8)
    y = conv2d(x[:0], weight, bias, SMALL[0])
    assert y.shape == (0, 32, 9, 11)
    assert not torch.autograd.grad(y.sum(), weight)[0].any()
