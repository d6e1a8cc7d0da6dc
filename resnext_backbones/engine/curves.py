"""A picture of the loss and of what a run is measured by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from mmengine.dist import master_only
from mmengine.hooks import Hook

from resnext_backbones.engine.logs import reported

FILE_NAME = "curves.png"

MEASURES = {"mAP_50": "AP", "mAP": "AP", "top5": "accuracy", "top1": "accuracy", "mIoU": "IoU"}
"""How the names of metrics end that are drawn, and what they measure."""


class CurvesHook(Hook):
    """Draws `curves.png` in the work directory, after each evaluation and at the end."""

    priority = "VERY_LOW"

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Bring the picture up to date."""
        with reported(runner, FILE_NAME):
            draw_curves(runner.work_dir)

    @master_only
    def after_train(self, runner: Any) -> None:
        """Draw the picture of the whole run."""
        with reported(runner, FILE_NAME):
            draw_curves(runner.work_dir)


def draw_curves(work_dir: str | Path) -> Path | None:
    """Draw the scalars that all runs in a work directory have logged, resumed ones included.

    Returns:
        The picture's path, or None where nothing is logged yet.
    """
    work_dir = Path(work_dir)
    train, val = _by_step(work_dir)
    losses = sorted({name for row in train.values() for name in row if "loss" in name})
    measured = {name for row in val.values() for name in row}
    drawn = [name for end in MEASURES for name in sorted(measured) if name.endswith(end)]
    ylabel = next((MEASURES[end] for end in MEASURES for name in drawn if name.endswith(end)), "")
    if not train:
        return None
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in losses:
        _plot(left, train, name, linewidth=2 if name == "loss" else 1)
    left.set(title="Training loss", xlabel="iteration", ylabel="loss", yscale="log")
    # Plain numbers: powers of ten would look for fonts that few machines have.
    left.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    left.yaxis.set_minor_locator(NullLocator())
    for name in drawn:
        _plot(right, val, name, marker="o")
    right.set(title="Evaluation", xlabel=_unit(val, train), ylabel=ylabel, ylim=(0, 1))
    for axes, names in ((left, losses), (right, drawn)):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if names:
            axes.legend(fontsize="small", framealpha=0.5)
    path = work_dir / FILE_NAME
    FigureCanvasAgg(figure).print_png(path)
    return path


def _by_step(work_dir: Path) -> tuple[dict[int, dict], dict[int, dict]]:
    """Training and evaluation scalars by step; where a step was logged twice, the later run's."""
    train: dict[int, dict] = {}
    val: dict[int, dict] = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for row in _rows(path):
            is_val = any(name.endswith(tuple(MEASURES)) for name in row)
            (val if is_val else train)[row["step"]] = row
    return train, val


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while it wrote


def _plot(axes: Any, rows: dict[int, dict], name: str, **style: Any) -> None:
    steps = [step for step in sorted(rows) if name in rows[step]]
    axes.plot(steps, [rows[step][name] for step in steps], label=name, **style)


def _unit(val: dict[int, dict], train: dict[int, dict]) -> str:
    """MMEngine logs evaluations by epoch in epoch based runs, and by iteration in the others."""
    return "epoch" if val and max(val) < max(train) else "iteration"
