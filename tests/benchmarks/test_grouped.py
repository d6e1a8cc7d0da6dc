"""The table of the fastest ways is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import grouped
from resnext_backbones.compute.grouped import FASTEST, Ways

MEASURED = sorted((Path(__file__).parents[2] / "docs" / "benchmarks").glob("grouped_conv_*.json"))


def test_the_table_holds_what_was_measured_and_nothing_else() -> None:
    tables = [grouped.choose(json.loads(path.read_text(encoding="utf-8"))) for path in MEASURED]
    assert tables
    assert {key: chosen for table in tables for key, chosen in table.items()} == FASTEST


def test_never_slower_than_the_plain_call() -> None:
    def fastest(*seconds: float) -> int:
        """Of two shapes, with a second for the plain call."""
        return grouped._fastest([{1: 1.0, 2: taken} for taken in seconds])

    assert fastest(0.5, 0.8) == 2
    assert fastest(0.5, 1.2) == 1, "no help where another shape gets slower"
    assert fastest(0.95) == 1


@pytest.fixture
def few_shapes(monkeypatch) -> None:
    monkeypatch.setattr(grouped, "NETWORKS", ("resnext101_32x4d",))
    monkeypatch.setattr(grouped, "IMAGES", ((1, 64, 64),))


@pytest.mark.usefixtures("few_shapes")
def test_measures_every_pass_of_every_stage() -> None:
    result = grouped.measure("cpu", ["float32"], turns=1, say=lambda _: None)
    assert {row["channels"] for row in result["rows"]} == {128, 256, 512, 1024}
    for row in result["rows"]:
        assert row["seconds"].keys() == set(Ways._fields)
        assert all(seconds > 0 for passes in row["seconds"].values() for seconds in passes.values())
    again = json.loads(json.dumps(result))
    assert grouped.choose(again) == grouped.choose(result)
    assert grouped.choose(result).keys() == {("cpu", torch.float32)}
