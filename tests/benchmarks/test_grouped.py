"""Grouped convolutions beside the device's limits: what is counted, by hand."""

from __future__ import annotations

import pytest
import torch

from benchmarks import grouped
from benchmarks.tables import markdown

LIMITS = {"matrix_gflops": {"float32": 100.0}, "copy_gb_per_second": 10.0}


def test_each_grouped_convolution_of_a_trunk_has_its_passes(monkeypatch) -> None:
    monkeypatch.setattr(grouped, "limits", lambda *_: LIMITS)
    monkeypatch.setattr(grouped, "_seconds", lambda *_: 1e-3)
    found = grouped.measure("resnext26_32x4d", 1, (64, 96), device="cpu", precision="float32")
    rows = found["rows"]
    # Two blocks a stage; stage 1 is frozen, and behind it each has all three passes.
    assert sum(row["count"] for row in rows) == 2 + 3 * 6
    assert sum(row["part"] for row in rows) == pytest.approx(1)
    (first,) = (row for row in rows if row["layer"].startswith("128 channels"))
    assert first["pass"] == "forward"
    assert first["layer"] == "128 channels, 32 groups of 4, 3x3/1, 16 x 24"
    values = 128 * 16 * 24
    moved = 4 * (2 * values + 128 * 4 * 9) / 10e9  # input, output and weight
    multiplied = 2 * values * 9 * 4 / 100e9
    assert moved > multiplied
    assert first["limit"] == "copy"
    assert first["fraction"] == pytest.approx(moved / 1e-3)
    assert "| of the limit | convolution |" in markdown(found)


def test_passes_are_computed_in_each_way() -> None:
    torch.manual_seed(0)
    found = grouped.measure("resnext26_32x4d", 1, (32, 32), device="cpu", precision="float32")
    assert all(row["seconds"] == min(row["ways"].values()) > 0 for row in found["rows"])
    assert any(len(row["ways"]) > 1 for row in found["rows"])
