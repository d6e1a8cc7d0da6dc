"""The table of products is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import grouped, pointwise
from resnext_backbones.compute.pointwise import PRODUCTS

MEASURED = sorted((Path(__file__).parents[2] / "docs" / "benchmarks").glob("pointwise_conv_*.json"))


def test_the_table_holds_what_was_measured_and_nothing_else() -> None:
    tables = [pointwise.choose(json.loads(path.read_text(encoding="utf-8"))) for path in MEASURED]
    assert tables
    assert {key: chosen for table in tables for key, chosen in table.items()} == PRODUCTS


def test_products_are_used_from_where_no_shape_is_slower() -> None:
    def row(channels: int, products: float) -> dict:
        seconds = {"convolution": 1.0, "products": products}
        shape = {"in_channels": channels, "out_channels": 1024}
        return {"precision": "float32", **shape, "seconds": seconds}

    rows = [row(64, 1.2), row(128, 0.8), row(512, 0.5)]
    assert list(pointwise.choose({"device": "cpu", "rows": rows}).values()) == [128]
    rows.append(row(512, 1.1))
    assert not pointwise.choose({"device": "cpu", "rows": rows})


def test_measures_every_convolution(monkeypatch) -> None:
    for module in (grouped, pointwise):
        monkeypatch.setattr(module, "NETWORKS", ("resnext101_32x4d",))
        monkeypatch.setattr(module, "IMAGES", ((1, 64, 64),))
    result = pointwise.measure("cpu", ["float32"], turns=1, say=lambda _: None)
    found = {(row["in_channels"], row["out_channels"]) for row in result["rows"]}
    assert {(64, 128), (64, 256), (128, 256), (1024, 2048), (2048, 1024)} <= found
    assert all(value > 0 for row in result["rows"] for value in row["seconds"].values())
    assert "float32" in pointwise.markdown(result)
