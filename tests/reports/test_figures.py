"""Long curves keep what tells something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnext_backbones.reports.page.figures import POINTS, curve, curves


def drawn(values: Any) -> dict[int, float | None]:
    rows = {step: {"loss": float(value)} for step, value in enumerate(values)}
    (trace,) = curve(rows, ["loss"])
    assert trace["x"] == sorted(trace["x"])
    assert len(trace["x"]) <= POINTS
    return dict(zip(trace["x"], trace["y"], strict=True))


@pytest.mark.parametrize("count", [2 * POINTS + 1, 50_000])
@pytest.mark.parametrize("odd", [100.0, -100.0, np.nan, np.inf])
def test_no_spike_is_left_out(count: int, odd: float) -> None:
    for place in (0, 1, count // 2, count // 2 + 1, count - 1):
        values = np.sin(np.arange(count) / 500)
        values[place] = odd
        assert drawn(values)[place] == (odd if np.isfinite(odd) else None)


def test_a_spike_beside_a_value_that_is_none() -> None:
    values = np.zeros(20_000)
    values[10_000:10_003] = np.nan, 7, -7
    found = drawn(values)
    assert [found[place] for place in (10_000, 10_001, 10_002)] == [None, 7, -7]


def test_a_curve_without_a_value_and_one_that_is_short() -> None:
    assert set(drawn(np.full(9_999, np.nan)).values()) == {None}
    assert list(drawn(range(POINTS))) == list(range(POINTS))


@pytest.mark.parametrize(
    ("train", "val", "unit"),
    [
        ({100: {"epoch": 1}, 200: {"epoch": 2}}, (1, 2), "epoch"),
        ({1: {"epoch": 1}, 2: {"epoch": 2}}, (1, 2), "epoch"),  # of a step each
        ({100: {"epoch": 1}, 200: {"epoch": 1}}, (100, 200), "step"),  # by steps, in epochs' words
        ({100: {}, 200: {}}, (100, 200), "step"),
    ],
)
def test_evaluations_are_of_epochs_or_of_steps(train: Any, val: Any, unit: str) -> None:
    rows = {step: {"loss": 1.0, **row} for step, row in train.items()}
    found = curves(rows, {step: {"coco/bbox_mAP": 0.1} for step in val})
    assert found["measures"]["layout"]["xaxis"]["title"]["text"] == unit
