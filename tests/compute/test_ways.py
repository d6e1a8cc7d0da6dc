"""Which way of a convolution's passes is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from resnext_backbones.compute import ways
from resnext_backbones.compute.calls import MERGED, ONEDNN, PLAIN, PRODUCT, WAYS, Layer
from resnext_backbones.compute.convolution import conv2d
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.tables import ALL_PLAIN, Ways
from resnext_backbones.compute.ways import ways_of

POINTWISE = Geometry((1, 1), (0, 0), (1, 1), 1)
GROUPED = Geometry((1, 1), (1, 1), (1, 1), 32)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many there are for the time of a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def layer(weight: tuple[int, ...], geometry: Geometry, *, last: bool = True) -> Layer:
    return Layer("cpu", torch.float32, last, weight, geometry)


OF_LAYERS = {
    "1x1": (layer((8, 12, 1, 1), POINTWISE), [PLAIN, ONEDNN, PRODUCT]),
    "1x1, channels not last": (layer((8, 12, 1, 1), POINTWISE, last=False), [PLAIN, ONEDNN]),
    "1x1 in half precision": (
        layer((8, 12, 1, 1), POINTWISE)._replace(dtype=torch.bfloat16),
        [PLAIN, PRODUCT],
    ),
    "1x1 on a GPU": (
        layer((8, 12, 1, 1), POINTWISE)._replace(device="cuda"),
        [PLAIN, PRODUCT],
    ),
    "1x1 with a stride": (layer((8, 12, 1, 1), POINTWISE._replace(stride=(2, 2))), [PLAIN]),
    "1x1 with padding": (layer((8, 12, 1, 1), POINTWISE._replace(padding=(1, 1))), [PLAIN]),
    "1x1 in groups": (layer((8, 12, 1, 1), POINTWISE._replace(groups=4)), [PLAIN]),
    "3x3": (layer((8, 12, 3, 3), POINTWISE._replace(padding=(1, 1))), [PLAIN]),
    "3x3, of all but the border": (layer((8, 12, 3, 3), POINTWISE), [PLAIN]),
    "4 channels a group": (layer((128, 4, 3, 3), GROUPED), [PLAIN, *MERGED]),
    "channels not last": (layer((128, 4, 3, 3), GROUPED, last=False), [PLAIN, *MERGED]),
    "32 channels a group": (layer((1024, 32, 3, 3), GROUPED), [PLAIN, "2 groups as one"]),
    "more outputs than inputs": (layer((256, 4, 3, 3), GROUPED), [PLAIN]),
    "an odd number of groups": (layer((12, 4, 3, 3), GROUPED._replace(groups=3)), [PLAIN]),
}
"""A layer, and the ways that it has with one thread."""


@pytest.mark.parametrize("name", OF_LAYERS)
def test_which_ways_there_are(name: str, threads: Callable[[int], None], monkeypatch) -> None:
    each, expected = OF_LAYERS[name]
    threads(1)
    assert each.ways() == expected
    threads(2)  # and the plain one is oneDNN's
    assert each.ways() == [way for way in expected if way != ONEDNN]
    assert [way for way in WAYS if each.has(way)] == expected
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not each.has(ONEDNN)


def test_the_most_similar_number_of_pixels_counts() -> None:
    known = layer((8, 12, 1, 1), POINTWISE)
    last = torch.channels_last
    x = torch.randn(2, 12, 10, 10).contiguous(memory_format=last)
    weight = torch.randn(8, 12, 1, 1)
    assert ways_of(x, weight, POINTWISE) == ALL_PLAIN
    few, many = Ways(PRODUCT), Ways(PLAIN, PRODUCT)
    ways.use("cpu", {known: {100: few, 10_000: many}})
    assert ways_of(x, weight, POINTWISE) == few
    assert ways_of(x[:0], weight, POINTWISE) == few
    ways.use("cpu", {known: {100: few, 10**400: many}})  # as a damaged file may have it
    assert ways_of(x, weight, POINTWISE) == few
    ways.use("cpu", {known: {100: few, 10_000: many}})
    assert ways_of(torch.cat([x] * 50).contiguous(memory_format=last), weight, POINTWISE) == many
    assert ways_of(x.contiguous(), weight, POINTWISE) == ALL_PLAIN
    assert ways_of(x.double(), weight.double(), POINTWISE) == ALL_PLAIN
    assert ways_of(x, weight, POINTWISE._replace(stride=(2, 2))) == ALL_PLAIN


def test_what_is_recorded() -> None:
    x = torch.randn(1, 12, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(8, 12, 1, 1)
    with ways.recorded() as found:
        conv2d(x, weight, None, POINTWISE).sum().backward()
    assert found == {(layer((8, 12, 1, 1), POINTWISE), x.shape): {"forward", "grad_input"}}
    conv2d(x, weight, None, POINTWISE)
    assert len(found) == 1
