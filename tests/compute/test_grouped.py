"""Every way of computing a grouped convolution against PyTorch's plain call."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import relative_error
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from resnext_backbones.compute import grouped, grouped_triton
from resnext_backbones.compute.convolution import conv2d, conv2d_backward
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.grouped import PLAIN, Way, Ways, fastest

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""Without a GPU Triton's interpreter computes what its kernels say, which conftest.py asks for."""

WAYS = [
    Ways(),
    Ways(Way(2), Way(4), Way(8)),
    Ways(Way(8), Way(8), Way(8)),
    Ways(grad_weight=Way(4)),
    Ways(Way(4, triton=True), Way(8, triton=True), Way(4, triton=True)),
    Ways(Way(8, triton=True), Way(8, triton=True), Way(8, triton=True)),
    Ways(grad_input=Way(4, triton=True)),
]
SMALL = [Geometry((1, 1), (1, 1), (1, 1), 8), Geometry((2, 2), (2, 2), (2, 2), 8)]
UNEVEN = Geometry((2, 1), (0, 2), (1, 2), 8)


def table(monkeypatch: pytest.MonkeyPatch, ways: Ways, *, there: bool = True) -> None:
    """Put ways into the table; `there` says that what they need is asked for."""
    if there and any(way.triton for way in ways) and not grouped_triton.AVAILABLE:
        pytest.skip("Triton is not installed, or has no C compiler")
    types = torch.float16, torch.float32, torch.float64
    monkeypatch.setattr(grouped, "FASTEST", {(DEVICE, dtype): {4: ways} for dtype in types})
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
    assert fastest(x, weight, geometry) == ways, "the plain call is compared with itself"
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
    table(monkeypatch, WAYS[4])
    x, weight, _ = tensors(8)
    upstream = torch.randn_like(F.conv2d(x, weight, None, *SMALL[0]))
    found = conv2d_backward(upstream, x.detach(), weight.detach(), SMALL[0], needed)
    assert [gradient is not None for gradient in found] == list(needed)


@pytest.mark.parametrize("programs", [1, 1024])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3)], ids=str)
def test_more_pixels_than_a_tile_and_fewer_channels(kernel, programs: int, monkeypatch) -> None:
    """10 groups in tiles of 4: the last one is half empty. One program sums up many tiles."""
    kernels = pytest.importorskip("resnext_backbones.compute.triton_kernels")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(kernels, "PROGRAMS", programs)
    x, weight, bias = (tensor.detach() for tensor in tensors(10, (17, 19)))
    weight = weight[:, :, : kernel[0], : kernel[1]]
    bias = torch.stack((bias, bias), 1)[:, 0]  # with a gap between its values
    geometry = Geometry((1, 1), (1, 1), (1, 1), 10)
    assert x[:, 0].numel() > 2 * kernels.PIXELS
    reference = F.conv2d(x, weight, bias, *geometry)
    assert relative_error(kernels.convolve(x, weight, bias, geometry, 4), reference) <= 1e-6
    upstream = torch.randn_like(reference)
    expected = torch.ops.aten.convolution_backward(
        upstream, x, weight, None, *geometry[:3], False, [0, 0], 10, [True, True, False]
    )
    found = kernels.grad_input(upstream, weight, geometry, 4, [17, 19])
    assert relative_error(found, expected[0]) <= 1e-6
    found = kernels.grad_weight(upstream, x, list(kernel), geometry, 4)
    assert relative_error(found, expected[1]) <= 1e-6


def test_triton_in_half_precision_rounds_once(monkeypatch) -> None:
    table(monkeypatch, WAYS[4])
    exact = [tensor.half().double().detach().requires_grad_() for tensor in tensors(8)]
    halves = [tensor.half().detach().requires_grad_() for tensor in exact]
    reference = F.conv2d(*exact, *SMALL[0])
    own = conv2d(*halves, SMALL[0])
    assert own.dtype == torch.float16
    assert relative_error(own.double(), reference) <= 1e-3
    upstream = torch.randn_like(reference).half()
    expected = torch.autograd.grad(reference, exact, upstream.double())
    for found, gradient in zip(torch.autograd.grad(own, halves, upstream), expected, strict=True):
        assert relative_error(found.double(), gradient) <= 1e-3


@pytest.mark.parametrize("ways", WAYS[1:4], ids=str)
def test_gradients_by_finite_differences(ways: Ways, monkeypatch) -> None:
    table(monkeypatch, ways)
    x = torch.randn(1, 32, 4, 4, dtype=torch.float64, device=DEVICE, requires_grad=True)
    weight = torch.randn(32, 4, 3, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight: conv2d(x, weight, None, SMALL[0]), (x, weight), fast_mode=True
    )


@pytest.mark.parametrize("ways", WAYS[3:5], ids=str)
def test_compiled_without_a_break_for_any_size(ways: Ways, monkeypatch) -> None:
    table(monkeypatch, ways)
    graphs = CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()

    def step(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv2d(x, weight, None, SMALL[1])

    compiled = torch.compile(step, backend=graphs, fullgraph=True, dynamic=True)
    for size in ((9, 11), (12, 8), (7, 14)):
        x, weight, _ = tensors(8, size)
        pairs = []
        for function in (step, compiled):
            y = function(x, weight)
            pairs.append([y, *torch.autograd.grad(y.square().sum(), (x, weight))])
        for a, b in zip(*pairs, strict=True):
            assert relative_error(a, b) <= 1e-6
    assert graphs.frame_count == 1


@pytest.mark.parametrize("name", ["tiled_conv2d", "tiled_grad_input", "tiled_grad_weight"])
@pytest.mark.parametrize("geometry", [SMALL[0], UNEVEN], ids=str)
def test_operators_are_what_pytorch_expects(name: str, geometry: Geometry) -> None:
    """Their shapes and strides without data, and that they change none of their arguments."""
    x, weight, bias = (tensor.detach() for tensor in tensors(8))
    grad = torch.randn_like(F.conv2d(x, weight, bias, *geometry))
    arguments = {
        "tiled_conv2d": (x, weight, bias),
        "tiled_grad_input": (grad, weight, *x.shape[2:]),
        "tiled_grad_weight": (grad, x, weight.shape[2:]),
    }[name]
    checks = "test_schema", "test_faketensor"
    operator = getattr(grouped_triton, name)
    torch.library.opcheck(operator, (*arguments, *geometry, 4), test_utils=checks)


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_exported_calls_no_operator_of_ours(strict: bool, monkeypatch) -> None:
    table(monkeypatch, WAYS[4])
    x, weight, _ = (tensor.detach() for tensor in tensors(8))

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return conv2d(x, weight, None, SMALL[0])

    program = torch.export.export(Network(), (x, weight), strict=strict)
    assert "resnext_backbones" not in str(program.graph)
    assert relative_error(program.module()(x, weight), F.conv2d(x, weight, None, *SMALL[0])) <= 1e-6


def test_without_triton_its_ways_are_plain(monkeypatch) -> None:
    table(monkeypatch, Ways(Way(4, triton=True), Way(4), Way()), there=False)
    monkeypatch.setattr(grouped_triton, "AVAILABLE", False)
    x, weight, _ = tensors(8)
    assert fastest(x, weight, SMALL[0]) == Ways(Way(), Way(4), Way())


def test_groups_that_do_not_merge_evenly_are_left_alone(monkeypatch) -> None:
    table(monkeypatch, WAYS[1])
    x, weight, bias = tensors(3)
    geometry = Geometry((1, 1), (1, 1), (1, 1), 3)
    assert fastest(x, weight, geometry) == PLAIN
    assert torch.equal(conv2d(x, weight, bias, geometry), F.conv2d(x, weight, bias, *geometry))


def test_wrong_channels_are_left_to_pytorch(monkeypatch) -> None:
    table(monkeypatch, WAYS[4])
    x, weight, _ = tensors(8)
    with pytest.raises(RuntimeError, match="channels"):
        conv2d(x[:, :24], weight, None, SMALL[0])


def test_no_images_have_no_features(monkeypatch) -> None:
    table(monkeypatch, WAYS[4])
    x, weight, bias = tensors(8)
    y = conv2d(x[:0], weight, bias, SMALL[0])
    assert y.shape == (0, 32, 9, 11)
    assert not torch.autograd.grad(y.sum(), weight)[0].any()


def test_precision_follows_pytorchs_newer_switch() -> None:
    kernels = pytest.importorskip("resnext_backbones.compute.triton_kernels")
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None:
        pytest.skip("this PyTorch has the older switch alone")
    before = conv.fp32_precision
    try:
        for setting in ("ieee", "tf32"):
            conv.fp32_precision = setting
            assert kernels._precision() == setting
    finally:
        conv.fp32_precision = before
