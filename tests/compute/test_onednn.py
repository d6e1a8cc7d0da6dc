"""With one thread 1x1 convolutions go to oneDNN when they are asked to, and plain ones do not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from helpers import relative_error

from resnext_backbones.compute.calls import ONEDNN, PLAIN, WAYS
from resnext_backbones.compute.convolution import forward, gradients
from resnext_backbones.compute.geometry import Geometry

POINTWISE = Geometry((1, 1), (0, 0), (1, 1), 1)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN"
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def passes(way: str, last: bool = True) -> list[torch.Tensor | None]:
    """Returns what all passes of a 1x1 convolution compute, one call each."""
    generator = torch.Generator().manual_seed(0)
    order = torch.channels_last if last else torch.contiguous_format
    x, weight, grad = (
        torch.randn(shape, generator=generator).contiguous(memory_format=order)
        for shape in ((1, 64, 24, 32), (128, 64, 1, 1), (1, 128, 24, 32))
    )
    with torch.no_grad():
        return [
            forward(x, weight, weight[:, 0, 0, 0], POINTWISE, way),
            gradients(grad, x, weight, POINTWISE, way, (True, False, False))[0],
            *gradients(grad, x, weight, POINTWISE, way, (False, True, True))[1:],
        ]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("way", "threads", "by_onednn"), [(PLAIN, 1, False), (ONEDNN, 1, True), (PLAIN, 2, True)]
)
def test_who_computes(
    way: str, threads: int, by_onednn: bool, last: bool, capfd: pytest.CaptureFixture
) -> None:
    """As oneDNN says itself: it writes a line for each convolution."""
    torch.set_num_threads(threads)
    backend = torch.backends.mkldnn
    with backend.verbose(backend.VERBOSE_ON):
        passes(way, last)
    lines = re.findall(r"exec,cpu,convolution,[^,]*,(\w+)", capfd.readouterr().out)
    expected = ["forward_training", "backward_data", "backward_weights"]
    assert lines == (expected if by_onednn else [])
    assert WAYS[ONEDNN].differs() == (threads == 1)


@pytest.mark.parametrize("last", [True, False])
def test_the_same_within_rounding(last: bool) -> None:
    torch.set_num_threads(1)
    for own, plain in zip(passes(ONEDNN, last), passes(PLAIN, last), strict=True):
        assert own is not None
        assert plain is not None
        assert relative_error(own, plain) <= 1e-5
        assert own.stride() == plain.stride()


def test_without_onednn_it_is_a_convolution_still(monkeypatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    for own, plain in zip(passes(ONEDNN), passes(PLAIN), strict=True):
        assert own is not None
        assert plain is not None
        assert relative_error(own, plain) <= 1e-5
