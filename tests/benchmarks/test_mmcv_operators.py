"""The comparison of mmcv's operators sees what differs, and its cases run without compiled ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mmcv", reason="mmcv is not installed")

import resnext_backbones.mmcv_ops  # noqa: F401  before mmcv.ops, which may have none
from benchmarks.mmcv_operators import detectors, operators
from benchmarks.mmcv_operators.cases import CASES
from benchmarks.mmcv_operators.compare import norm_error, relative_error
from benchmarks.mmcv_operators.mmcv_tests import measure, summary
from benchmarks.mmcv_operators.switch import OWN, REFERENCE
from resnext_backbones.errors import InputError


@pytest.mark.parametrize("name", CASES)
def test_case_computes(name: str) -> None:
    result = operators.run_case(name, seed=0)
    assert all(np.isfinite(array).all() for array in result.values())
    gradients = [key for key in result if not key.startswith("output ")]
    assert all(np.abs(result[key]).max() > 0 for key in gradients)


def test_errors_are_seen() -> None:
    ones = np.ones(4, dtype=np.float32)
    assert relative_error(ones, ones) == 0
    assert relative_error(ones * 2, ones) == 1
    assert relative_error(ones[:3], ones) == float("inf")
    assert relative_error(ones * np.nan, ones) == float("inf")
    assert relative_error(np.array([1, 2]), np.array([2, 1])) == float("inf")
    assert norm_error([ones, ones * 1.5], [ones, ones]) == pytest.approx(0.5 / 2**0.5)
    assert norm_error([ones * 0], [ones * 0]) == 0
    assert norm_error([ones], [ones * 0]) == float("inf")


def test_bounds_are_asked_for() -> None:
    row = {"losses": 0.0, "gradients": {"neck": 1e-5}, "detections": {"boxes": 0.0}}
    assert detectors.within_bounds(row)
    assert not detectors.within_bounds(row | {"losses": 1e-5})
    assert not detectors.within_bounds(row | {"gradients": {"neck": 1e-5, "head": 1e-3}})
    assert not detectors.within_bounds(row | {"detections": {"boxes": 0.0, "labels": 1.0}})
    assert operators.within_bounds({"outputs": 1e-7})
    assert not operators.within_bounds({"outputs": 1e-7, "gradient of input": 1e-5})
    assert operators.within_bounds({"not computed": REFERENCE, "why": "no GPU"})
    assert not operators.within_bounds({"not computed": OWN, "why": "no such operator"})


def test_tests_that_did_nothing_are_no_passes() -> None:
    def row(name: str, outcome: str, called: str = "", message: str = "") -> dict[str, str]:
        return {"name": name, "outcome": outcome, "operators": called, "message": message}

    found = summary(
        [row("a", "passed", "nms"), row("b", "passed"), row("c", "skipped", "", "no GPU")]
    )
    assert (found["tests"], found["passed"]) == (3, 1)
    assert found["passed without an operator"] == ["b"]
    assert found["skipped"] == {"c": "no GPU"}


def test_a_folder_without_mmcvs_tests_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkout of mmcv"):
        measure(tmp_path)
