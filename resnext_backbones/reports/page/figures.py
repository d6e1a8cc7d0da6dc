"""Figures are plotly's, as plain values: the script in the page draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.engine.scalars import MEASURES, Rows

if TYPE_CHECKING:  # it needs pycocotools, and curves do not
    from resnext_backbones.reports.page.scores import Precision

Figure = dict[str, Any]

POINTS = 2000
"""A curve has at most so many: of what stands close together the least and the greatest."""

CLASSES = 60
"""A confusion matrix has at most so many classes: those with the most mistakes."""

LABEL = 20
"""Characters of a class's name beside an axis; the whole one is shown where one points."""

NOTHING = "nothing"


def curve(rows: Rows, names: Iterable[str], *, main: str = "", mode: str = "lines") -> list[Figure]:
    """Returns a line for each scalar, over the steps that have it.

    Args:
        main: the one with the widest line.
        mode: plotly's: lines, or also markers.
    """
    traces = []
    for name in names:
        steps = [step for step in sorted(rows) if isinstance(rows[step].get(name), int | float)]
        steps = _telling(steps, [rows[step][name] for step in steps])
        traces.append(
            {
                "type": "scatter",
                "mode": mode if len(steps) > 1 else "lines+markers",
                "name": plain(name),
                "x": steps,
                "y": [_short(rows[step][name]) for step in steps],
                "line": {"width": 2.5 if name == main else 1.5},
            }
        )
    return traces


def _telling(steps: list[int], values: list[float]) -> list[int]:
    """Returns the steps to draw, `POINTS` at most: of neighbours the least value, the greatest and
    the first that is not finite, where the line breaks.
    """
    if len(steps) <= POINTS:
        return steps
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(steps)), POINTS // 3):
        drawn = np.array([values[i] for i in part], float)
        finite = np.isfinite(drawn)
        kept |= set(part[~finite][:1])
        if finite.any():
            ordered = part[finite][np.argsort(drawn[finite], kind="stable")]
            kept |= {ordered[0], ordered[-1]}
    return [steps[i] for i in sorted(kept)]


def curves(train: Rows, val: Rows) -> dict[str, Figure]:
    """Returns the figures of a training: its losses, what it was measured by, and so on; those of
    which nothing was logged are left out.
    """
    names = {name for row in train.values() for name in row}
    losses = sorted((n for n in names if "loss" in n), key=lambda n: (n != "loss", n))
    measured = sorted({name for row in val.values() for name in row})
    drawn = [n for n in measured if n.endswith(tuple(MEASURES)) and _is_known(val, n)]
    epochs = [row["epoch"] for row in train.values() if "epoch" in row]
    unit = "epoch" if epochs and val and max(val) <= max(epochs) else "step"
    wanted = {
        "loss": (
            "Training loss",
            curve(train, losses, main="loss"),
            "step",
            {"type": "log", "dtick": "D2"},
        ),
        "measures": (
            "Evaluation",
            curve(val, drawn, mode="lines+markers"),
            unit,
            {"rangemode": "tozero"},
        ),
        "rate": ("Learning rate", curve(train, ["lr"] if "lr" in names else []), "step", {}),
        "time": (
            "Seconds a step",
            curve(train, [n for n in ("time", "data_time") if n in names]),
            "step",
            {"rangemode": "tozero"},
        ),
    }
    return {
        key: {
            "title": title,
            "data": traces,
            "layout": {"xaxis": {"title": {"text": x}, "rangemode": "tozero"}, "yaxis": y},
        }
        for key, (title, traces, x, y) in wanted.items()
        if any(trace["x"] for trace in traces)
    }


def precision_figure(found: Precision) -> Figure:
    """Returns precision over recall, as means over the classes; a class is drawn once it is chosen
    in the page.
    """
    recall = _rounded(found.recall)
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"all classes, IoU {overlap:g}",
            "x": recall,
            "y": _rounded(values),
            "line": {"width": 2.5 if overlap == 0.5 else 1.5},
        }
        for overlap, values in found.means.items()
    ]
    axis = {"range": [0, 1.02], "constrain": "domain"}
    titles = {"xaxis": "recall", "yaxis": "precision"}
    layout = {name: {**axis, "title": {"text": text}} for name, text in titles.items()}
    return {"title": "Precision over recall", "data": traces, "layout": layout}


def class_curves(found: Precision, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the curve of each class at an IoU of 0.5, for the page to draw."""
    return [
        {"name": plain(name), "y": _rounded(values)}
        for name, values in zip(names, found.curves, strict=True)
    ]


def confusion_figure(matrix: NDArray[np.integer], names: Sequence[str]) -> tuple[Figure, int]:
    """Returns the shares of each class's objects that were found as each class, and how many
    classes it shows.
    """
    mistakes = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    shown = np.sort(np.argsort(-mistakes[:-1], kind="stable")[:CLASSES])
    rows = [*shown.tolist(), len(names)]
    part = matrix[np.ix_(rows, rows)]
    totals = matrix.sum(1)[rows]
    shares = part / np.maximum(totals, 1)[:, None]
    labels = [*(plain(names[i]) for i in shown), NOTHING]
    places = list(range(len(rows)))
    hover = [
        [
            f"{labels[t]} found as {labels[f]}: {part[t, f]:,} of {totals[t]:,}"
            if rows[f] != len(names)
            else f"{labels[t]} missed: {part[t, f]:,} of {totals[t]:,}"
            for f in places
        ]
        for t in places
    ]
    hover[-1] = [f"{labels[f]} where there is none: {part[-1, f]:,}" for f in places]
    heat: Figure = {
        "type": "heatmap",
        "z": np.where(part > 0, shares, np.nan).round(3).tolist(),
        "zmin": 0,
        "zmax": 1,
        "x": places,
        "y": places,
        "text": [[f"{count:,}" if count else "" for count in row] for row in part.tolist()],
        "hovertext": hover,
        "hoverinfo": "text",
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": "share"}, "thickness": 12, "outlinewidth": 0},
    }
    if len(rows) <= 21:  # of more the numbers would not be readable
        heat["texttemplate"] = "%{text}"
    cut = (n if len(n) <= LABEL else f"{n[: LABEL - 3]}..." for n in (names[i] for i in shown))
    short = [*map(plain, cut), NOTHING]
    axis = {"tickvals": places, "ticktext": short, "showgrid": False, "zeroline": False}
    x = {
        **axis,
        "title": {"text": "found as", "standoff": 16},
        "tickangle": -45 if len(rows) <= 21 else -90,
    }
    y = {**axis, "title": {"text": "truth", "standoff": 16}, "autorange": "reversed"}
    height = 200 + max(18, 40 - len(rows)) * len(rows)
    layout = {"xaxis": x, "yaxis": y, "height": height}
    title = "Which class is found as which"
    return {"title": title, "data": [heat], "layout": layout}, len(shown)


def plain(text: str) -> str:
    """Returns a text as plotly, which knows some of HTML, shows it."""
    return escape(str(text), quote=False)


def _is_known(rows: Rows, name: str) -> bool:
    """Tells whether a metric has a value anywhere: COCO's is -1 where there is no object."""
    return any(isinstance(v := row.get(name), int | float) and v >= 0 for row in rows.values())


def _rounded(values: Any) -> list[float | None]:
    return [None if v != v else round(float(v), 3) for v in np.asarray(values, float)]


def _short(value: float) -> float | None:
    """Returns a number in as many digits as a curve shows; None of one that is not finite."""
    return float(f"{value:.5g}") if np.isfinite(value) else None
