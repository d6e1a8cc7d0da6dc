"""The family's networks beside timm's."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("timm", reason="timm is not installed")

from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.family import PEER, kept_by_peer, measure, names, representatives
from benchmarks.memory import kept_bytes
from benchmarks.tables import markdown
from resnext_backbones.variants import VARIANTS


def test_each_attention_is_among_them() -> None:
    rows = [VARIANTS[name] for name in names()]
    assert {row.attention for row in rows} == {row.attention for row in VARIANTS.values()}
    assert not any("wide" in name or name.startswith("resnet") for name in names())
    parts = {(row.attention, row.spatial, row.stage, row.activation) for row in rows}
    shown = [VARIANTS[name] for name in representatives()]
    assert {(row.attention, row.spatial, row.stage, row.activation) for row in shown} == parts


@pytest.mark.parametrize("name", representatives())
def test_both_train_the_same_parameters(name: str) -> None:
    """Else the one that trains less has less to do."""
    with torch.device("meta"):
        trunks = [CONTESTANTS[each].frozen_trunk(name) for each in (OWN, PEER)]
    counts = [[p.numel() for p in trunk.parameters() if p.requires_grad] for trunk in trunks]
    assert sorted(counts[0]) == sorted(counts[1])


def test_timms_bytes_are_counted_without_values() -> None:
    """A few more, since its norms keep a value of each channel on the device meta."""
    module, images = CONTESTANTS[PEER].frozen_trunk("resnext26ts"), torch.randn(1, 3, 64, 96)
    counted = kept_bytes(module, lambda: module(images))
    assert counted <= kept_by_peer("resnext26ts", (64, 96)) <= 1.1 * counted


@pytest.mark.whole
def test_both_compute_the_same_and_ours_keeps_less() -> None:
    """Outputs and gradients are compared in each run, which raises where outputs differ."""
    variants = ["gcresnext26ts", "resnext50_32x4d", "regnetx_002"]
    result = measure(variants, (64, 96), timed=variants[:2], turns=1, device="cpu")
    assert [row.get("gradient_error", 0) < 1e-3 for row in result["rows"]] == [True] * 3
    assert [row["kept_bytes_ratio"] < 0.8 for row in result["rows"]] == [True] * 3
    assert "median" not in result["rows"][2]
    lines = markdown(result).splitlines()
    assert lines[0].startswith("| variant | kept for backward (MB) | of timm's | seconds |")
    assert "| gcresnext26ts |" in lines[2]
