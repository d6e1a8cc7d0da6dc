"""Numbers of a run are said in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from resnext_backbones.data.coco_table import COLUMNS
from resnext_backbones.reports.page.facts import Run
from resnext_backbones.reports.units import duration, size

KINDS = {"bbox": "box", "segm": "mask"}

HEADLINES = (
    ("coco/bbox_mAP", "box AP"),
    ("coco/segm_mAP", "mask AP"),
    ("segmentation/mIoU", "mean IoU"),
    ("accuracy/top1", "top-1 accuracy"),
    ("accuracy/top5", "top-5 accuracy"),
)
"""The metrics that the summary shows, in percent."""

NONE = "-"
"""Stands where there is no value."""

MEGABYTE = 2**20
"""MMEngine logs memory in these."""


def percent(value: float | None) -> str:
    """Returns a metric from 0 to 1 in percent; a dash where there is none, which COCO's -1 says."""
    return NONE if value is None or value != value or value < 0 else f"{100 * value:.1f}"


def between(entry: Mapping[str, Any]) -> float | None:
    """Returns the seconds of a run that has ended; None of one that was stopped, or is running."""
    try:
        begin, end = (datetime.fromisoformat(entry[name]) for name in ("started", "ended"))
    except (KeyError, TypeError, ValueError):
        return None
    return (end - begin).total_seconds()


def headlines(run: Run) -> list[tuple[str, str]]:
    """Returns what the summary shows first: names and values."""
    rows = [(name, percent(run.metrics.get(key))) for key, name in HEADLINES if key in run.metrics]
    if seconds := trained_seconds(run):
        rows.append(("trained for", duration(seconds)))
    if (taken := most_memory(run)) is not None:
        rows.append(("memory, peak", size(taken)))
    if (step := step_seconds(run)) is not None:
        rows.append(("a step", duration(step)))
    return rows


def trained_seconds(run: Run) -> float:
    """Returns how long all runs of a work directory took, or where that is not known what their
    logged steps took; 0 where nothing is known.
    """
    known = [between(entry) for entry in run.record]
    if known and None not in known:
        return sum(filter(None, known))
    steps, total = 0, 0.0
    for step in sorted(run.train):
        total += (step - steps) * _number(run.train[step].get("time"))
        steps = step
    return total


def step_seconds(run: Run) -> float | None:
    """Returns the median of what a step took, as it was logged."""
    times = [_number(row.get("time")) for row in run.train.values() if "time" in row]
    return statistics.median(times) if times else None


def waiting_share(run: Run) -> float | None:
    """Returns which part of a step's time was spent waiting for images."""
    rows = [row for row in run.train.values() if "time" in row and "data_time" in row]
    whole = sum(_number(row["time"]) for row in rows)
    return sum(_number(row["data_time"]) for row in rows) / whole if whole else None


def most_memory(run: Run) -> float | None:
    """Returns the most bytes that a run took: of the GPU, or of a process without one."""
    logged = [MEGABYTE * _number(row["memory"]) for row in run.train.values() if "memory" in row]
    noted = [_number(entry.get("peak_bytes")) for entry in run.record]
    return max([*logged, *noted], default=0) or None


def planned_memory(run: Run) -> float | None:
    """Returns the bytes that a training was to take, where it was planned."""
    return _number(run.plan.get("planned_bytes")) or None


def coco_rows(metrics: Mapping[str, float]) -> list[tuple[str, list[str]]]:
    """Returns COCO's table: AP of boxes and of masks, in the order of `COLUMNS`."""
    rows = []
    for kind, name in KINDS.items():
        values = [metrics.get(f"coco/{kind}_{column}") for column in COLUMNS]
        if any(value is not None for value in values):
            rows.append((name, [percent(value) for value in values]))
    return rows


def other_rows(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Returns all metrics but COCO's table; those from 0 to 1 in percent."""
    coco = {f"coco/{kind}_{column}" for kind in KINDS for column in COLUMNS}
    left_out = {*coco, "data_time", "time", "step"}
    return [
        (name, percent(value) if 0 <= value <= 1 else f"{value:,g}")
        for name, value in metrics.items()
        if name not in left_out
    ]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0
