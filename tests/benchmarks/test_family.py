"""The family's networks beside timm's."""

from __future__ import annotations

import pytest

pytest.importorskip("timm", reason="timm is not installed")

from benchmarks.family import measure, names
from benchmarks.report import markdown
from resnext_backbones.variants import VARIANTS


def test_each_attention_is_among_them() -> None:
    rows = [VARIANTS[name] for name in names()]
    assert {row.attention for row in rows} == {row.attention for row in VARIANTS.values()}
    assert not any("wide" in name or name.startswith("resnet") for name in names())


@pytest.mark.whole
def test_both_compute_the_same_and_ours_keeps_less() -> None:
    """Outputs and gradients are compared in each run, which raises where outputs differ."""
    result = measure(["gcresnext26ts", "resnext50_32x4d"], (64, 96), turns=1, device="cpu")
    for row in result["rows"]:
        assert row["gradient_error"] < 1e-3
        assert row["kept_bytes_ratio"] < 0.8
    lines = markdown(result).splitlines()
    assert lines[0].startswith("| time of timm's | variant | seconds |")
    assert "| gcresnext26ts |" in lines[2]
