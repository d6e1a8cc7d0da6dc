"""Which way of a convolution's passes is taken, and tables of ways as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import torch

from resnext_backbones.compute import ways
from resnext_backbones.compute.calls import MERGED, ONEDNN, PLAIN, PRODUCT, WAYS, Layer
from resnext_backbones.compute.convolution import conv2d
from resnext_backbones.compute.geometry import Geometry
from resnext_backbones.compute.ways import ALL_PLAIN, UNKNOWN, Ways, ways_of

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


def test_a_table_as_plain_values(monkeypatch) -> None:
    chosen = {
        layer((8, 12, 1, 1), POINTWISE): {100: Ways(PRODUCT), 10_000: ALL_PLAIN},
        layer((128, 4, 3, 3), GROUPED): {
            100: Ways(PLAIN, "4 groups as one", UNKNOWN),
            200: Ways(*list(MERGED)[-3:]),
        },
        layer((8, 12, 1, 1), POINTWISE, last=False): {100: Ways(ONEDNN, ONEDNN, ONEDNN)},
    }
    rows = json.loads(json.dumps(ways.to_rows(chosen)))
    assert ways.from_rows("cpu", rows) == (chosen, [])
    rows[2]["ways"]["forward"] = "a way of tomorrow"
    rows[3]["ways"]["forward"] = PRODUCT  # which is one of other layers
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    changed, unknown = ways.from_rows("cpu", rows)
    assert unknown == ["a way of tomorrow", PRODUCT, *[ONEDNN] * 3]
    grouped, pointwise = list(chosen)[1:]
    assert changed[grouped] == {
        100: Ways(PLAIN, "4 groups as one", UNKNOWN),
        200: Ways(PLAIN, *list(MERGED)[-2:]),
    }
    assert changed[pointwise] == {100: ALL_PLAIN}


@pytest.mark.parametrize(
    "rows",
    [[{}], [3], 3, [{"dtype": "nothing"}], [{"stride": 1}], [{"weight": None}]],
    ids=str,
)
def test_what_is_no_table_is_refused(rows: object) -> None:
    full = ways.to_rows({layer((8, 12, 1, 1), POINTWISE): {100: ALL_PLAIN}})[0]
    if isinstance(rows, list):
        rows = [{**full, **row} if row and isinstance(row, dict) else row for row in rows]
    with pytest.raises(ValueError, match="no table of ways"):
        ways.from_rows("cpu", rows)  # type: ignore[arg-type]
