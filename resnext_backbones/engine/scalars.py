"""Runs log their scalars as lines of JSON, which are read here by step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resnext_backbones.data.coco_table import COLUMNS

MEASURES = {"mAP_50": "AP", "mAP": "AP", "top5": "accuracy", "top1": "accuracy", "mIoU": "IoU"}
"""Metrics whose names end like this are drawn; each measures this."""

Rows = dict[int, dict[str, Any]]
"""Scalars by the step that they are of."""

DETECTRON2 = {"total_loss": "loss"}
"""MMEngine's name for a scalar of Detectron2's."""

DETECTRON2_AP = {theirs: name for name, theirs in COLUMNS.items()}
"""MMDetection's names for metrics that Detectron2 has in percent, behind `bbox/` and `segm/`."""


def by_step(work_dir: Path) -> tuple[Rows, Rows]:
    """Returns training and evaluation scalars that all runs in a work directory have logged, by
    step; of a step logged twice, the later run's.
    """
    train: Rows = {}
    val: Rows = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for row in _lines(path):
            if isinstance(step := row.get("step"), int):
                is_val = any(name.endswith(tuple(MEASURES)) for name in row)
                (val if is_val else train)[step] = row
    for row in _lines(work_dir / "metrics.json"):
        if isinstance(step := row.get("iteration"), int):
            # Detectron2 counts from 0, and once more when it has trained.
            step += "total_loss" in row
            if metrics := dict(measured(row.items())):
                val[step] = metrics
            if "total_loss" in row:
                train[step] = {DETECTRON2.get(name, name): value for name, value in row.items()}
    return train, val


def measured(scalars: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields COCO's metrics among scalars of Detectron2's, as MMDetection has them."""
    for name, value in scalars:
        kind, _, measure = name.partition("/")
        if kind in ("bbox", "segm") and measure in DETECTRON2_AP:
            yield f"coco/{kind}_{DETECTRON2_AP[measure]}", value / 100


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while it wrote
        if isinstance(row, dict):
            yield row
