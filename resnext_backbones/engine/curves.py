"""A picture shows the loss and what a run is measured by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.visualization import LocalVisBackend as MMEngineLocalVisBackend

from resnext_backbones.adapters.registry import VISBACKENDS
from resnext_backbones.engine.hooks import reported
from resnext_backbones.engine.scalars import MEASURES, by_step
from resnext_backbones.io import json_text

FILE_NAME = "curves.png"


class CurvesHook(Hook):
    """Draws `curves.png` in the work directory, after each evaluation and at the end."""

    priority = "VERY_LOW"

    @master_only
    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:  # noqa: ARG002
        with reported(runner, FILE_NAME):
            draw_curves(runner.work_dir)

    def after_train(self, runner: Any) -> None:
        self.after_val_epoch(runner)


@VISBACKENDS.register_module()
class LocalVisBackend(MMEngineLocalVisBackend):
    """Writes scalars as MMEngine's backend does, as JSON that every reader takes."""

    def _dump(self, value_dict: dict[str, Any], file_path: str, file_format: str) -> None:
        plain = json.loads(json_text(value_dict)) if file_format == "json" else value_dict
        super()._dump(plain, file_path, file_format)


def draw_curves(work_dir: str | Path) -> Path | None:
    """Draws the scalars that all runs in a work directory have logged, resumed ones included.

    Returns:
        The picture's path, or None where nothing is logged yet.
    """
    work_dir = Path(work_dir)
    train, val = by_step(work_dir)
    if not train:
        return None
    losses = sorted({name for row in train.values() for name in row if "loss" in name})
    measured = sorted({name for row in val.values() for name in row})
    drawn = {
        name: what for end, what in MEASURES.items() for name in measured if name.endswith(end)
    }
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
    # MMEngine logs evaluations by epoch in epoch based runs, and by iteration in the others.
    unit = "epoch" if val and max(val) < max(train) else "iteration"
    ylabel = next(iter(drawn.values()), "")
    right.set(title="Evaluation", xlabel=unit, ylabel=ylabel, ylim=(0, 1))
    for axes, names in ((left, losses), (right, drawn)):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if names:
            axes.legend(fontsize="small", framealpha=0.5)
    path = work_dir / FILE_NAME
    FigureCanvasAgg(figure).print_png(path)
    return path


def _plot(axes: Any, rows: dict[int, dict], name: str, **style: Any) -> None:
    steps = [step for step in sorted(rows) if name in rows[step]]
    axes.plot(steps, [rows[step][name] for step in steps], label=name, **style)
