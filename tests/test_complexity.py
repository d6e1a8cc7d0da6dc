"""What a training step keeps is counted without values, and is what a real one keeps."""

from __future__ import annotations

import pytest
import torch
from helpers import quick

from benchmarks.complexity import count_kept
from benchmarks.memory import kept_bytes as really_kept
from resnext_backbones import build_backbone, list_variants
from resnext_backbones.complexity import IMAGES, SIZE, costs, kept_bytes, training_bytes

SMALL = 64, 96


# A plain one, SE, BAT's pooled attention, self-attention, selective kernels, stages in two halves.
@pytest.mark.parametrize(
    ("name", "unfolded"),
    [
        ("resnext26_32x4d", ()),
        ("seresnext26ts", ()),
        ("bat_resnext26ts", ()),
        ("eca_botnext26ts_256", (256, 256, 512, 512, 512, 512)),
        ("skresnext50_32x4d", ()),
        ("cspresnext50", ()),
        ("regnety_002", ()),
    ],
)
def test_a_real_step_keeps_what_is_counted(name: str, unfolded: tuple[int, ...]) -> None:
    trunk = build_backbone(name, frozen_stages=1, norm_eval=True).train()
    images = torch.randn(2, 3, *SMALL)
    # A norm that is not folded keeps a mean that is empty, for which PyTorch allows a value of each
    # channel where nothing has values.
    counted = kept_bytes(name, images=2, size=SMALL) - 4 * sum(unfolded)
    assert really_kept(trunk, lambda: trunk(images)) == counted


@pytest.mark.parametrize("name", quick(list_variants(), {"resnext50_32x4d", "resnext29_8x64d"}))
def test_the_record_has_what_is_counted(name: str) -> None:
    kept = costs()[name].kept_bytes
    assert count_kept(name).get("kept_bytes") == kept
    assert (training_bytes(name) is None) == (kept is None)


def test_a_step_takes_its_parameters_thrice_beside_what_it_keeps() -> None:
    cost = costs()["resnext50_32x4d"]
    parameters = sum(p.numel() for p in build_backbone("resnext50_32x4d").parameters())
    assert cost.kept_bytes is not None
    assert training_bytes("resnext50_32x4d") == cost.kept_bytes + 12 * parameters
    other = training_bytes("resnext50_32x4d", images=2 * IMAGES, size=SIZE)
    assert other == pytest.approx(2 * cost.kept_bytes + 12 * parameters, rel=1e-3)
