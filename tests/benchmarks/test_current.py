"""That nothing is remembered costs less of a step than what the documents say."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import small

from benchmarks import current
from resnext_backbones.compute import conv_norm

MOST = 0.01
"""Of a step."""


def test_what_was_measured_is_little() -> None:
    documents = Path(__file__).parents[2] / "docs"
    paths = sorted((documents / "benchmarks").glob("current_*.json"))
    found = [json.loads(path.read_text(encoding="utf-8"))["share"] for path in paths]
    assert found
    assert max(found) <= MOST
    assert f"{max(found):.1%} of a detector's step" in " ".join(
        (documents / "pytorch_tools.md").read_text(encoding="utf-8").split()
    )


def test_measures_checks_and_what_is_frozen(monkeypatch) -> None:
    monkeypatch.setattr(current, "build_backbone", lambda _, **options: small(**options))
    before = conv_norm.is_observed, conv_norm.can_fold, conv_norm.passes_for
    result = current.measure("small", "cpu", 1, 64, 2)
    assert 0 < result["share"] < 1
    assert (conv_norm.is_observed, conv_norm.can_fold, conv_norm.passes_for) == before
