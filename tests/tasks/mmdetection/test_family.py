"""Detectors of the family's networks learn from real images."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from tooling import losses, run

from resnext_backbones.variants import VARIANTS

LEARN = (
    "seresnext26ts",
    "gcresnext26ts",
    "bat_resnext26ts",
    "skresnext50_32x4d",
    "eca_botnext26ts_256",
    "cspresnext50",
    "regnety_002",
)
"""One network with each attention, and with each other part."""


def test_each_attention_and_part_is_among_them() -> None:
    for field in ("attention", "spatial", "stage"):
        values = {getattr(VARIANTS[name], field) for name in LEARN}
        assert values >= {getattr(row, field) for row in VARIANTS.values()} - {""}


@pytest.mark.whole
@pytest.mark.parametrize("variant", LEARN)
def test_its_loss_falls_in_20_steps(variant: str, coco_tiny: Path, tmp_path: Path) -> None:
    row = VARIANTS[variant]
    channels = [row.out_channels(i) for i in range(len(row.blocks))]
    done = run(
        "train.py", "demo_coco", "--work-dir", tmp_path, "--no-tune", "--cfg-options",
        f"model.backbone.variant={variant}", "train_cfg.max_epochs=1", "train_cfg.val_interval=9",
        "default_hooks.logger.interval=1",
        f"model.neck.in_channels={','.join(map(str, channels))}", coco_root=coco_tiny,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = losses(done.stdout)
    assert len(found) == 20
    assert sum(found[-5:]) < 0.95 * sum(found[:5])
