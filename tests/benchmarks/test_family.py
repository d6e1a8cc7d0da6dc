"""The family's networks beside timm's."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("timm", reason="timm is not installed")

from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.family import PEER, kept_by, measure, names, representatives
from benchmarks.memory import kept_bytes
from benchmarks.report import markdown
from resnext_backbones.variants import VARIANTS


def test_each_attention_is_among_them() -> None:
    rows = [VARIANTS[name] for name in names()]
    assert {row.attention for row in rows} == {row.attention for row in VARIANTS.values()}
    assert not any("wide" in name or name.startswith("resnet") for name in names())
    parts = {(row.attention, row.spatial, row.stage, row.activation) for row in rows}
    shown = [VARIANTS[name] for name in representatives()]
    assert {(row.attention, row.spatial, row.stage, row.activation) for row in shown} == parts


@pytest.mark.parametrize("contestant", [OWN, PEER])
def test_bytes_are_counted_without_values(contestant: str) -> None:
    """Of timm's batch norms a few more, which on the device meta keep a value of each channel."""
    found = kept_by(contestant, "resnext26ts", (64, 96))
    module, images = CONTESTANTS[contestant].frozen_trunk("resnext26ts"), torch.randn(1, 3, 64, 96)
    counted = kept_bytes(module, lambda: module(images))
    assert counted == found if contestant == OWN else counted <= found <= 1.1 * counted


@pytest.mark.whole
def test_both_compute_the_same_and_ours_keeps_less() -> None:
    """Outputs and gradients are compared in each run, which raises where outputs differ."""
    variants = ["gcresnext26ts", "resnext50_32x4d", "regnetx_002"]
    result = measure(variants, (64, 96), timed=variants[:2], turns=1, device="cpu")
    assert [row.get("gradient_error", 0) < 1e-3 for row in result["rows"]] == [True] * 3
    assert [row["kept_bytes_ratio"] < 0.8 for row in result["rows"]] == [True] * 3
    assert "median" not in result["rows"][2]
    assert result["family"]["kept_bytes"].keys() == VARIANTS.keys()
    lines = markdown(result).splitlines()
    assert lines[0].startswith("| variant | kept for backward (MB) | of timm's | seconds |")
    assert "| gcresnext26ts |" in lines[2]
