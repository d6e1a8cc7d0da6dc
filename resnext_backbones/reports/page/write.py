"""The page is one file: a template with its style, its script and plotly's own script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from plotly.offline import get_plotlyjs

import resnext_backbones
from resnext_backbones.data.coco_table import COLUMNS
from resnext_backbones.engine.peak import PROCESS
from resnext_backbones.engine.record import harmless, now
from resnext_backbones.io import atomic_write_text, json_text
from resnext_backbones.reports.page import words
from resnext_backbones.reports.page.evaluated import evaluation_of
from resnext_backbones.reports.page.facts import Run, read_run
from resnext_backbones.reports.page.figures import curves, plain

PLOTLY = "plotly.min.js"

SHOWN = 20
"""So many categories of a data set are listed, those with the most objects first."""

CONFIG_BYTES = 200_000
"""A config of more is shown up to there."""


def write_report(
    work_dir: Path,
    path: Path,
    *,
    say: Callable[[str], None],
    with_pictures: bool = True,
    plotly_beside: bool = False,
) -> Path:
    """Writes the page of a work directory's run, whole or not at all, and returns its path.

    Args:
        say: takes lines about what cannot be shown, and about what takes long.
        with_pictures: show the best and the worst images; names of files and classes are there
            without them, too.
        plotly_beside: take plotly's script from the page's folder, where it is written: several
            pages then share its 5 MB.

    Raises:
        InputError: the folder is not there, or is no run's.
        OSError: the page cannot be written.
    """
    run = read_run(work_dir)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    shown = context(run, say, with_pictures=with_pictures)
    shown["plotly_beside"] = PLOTLY if plotly_beside else ""
    if plotly_beside and shown["figures"]:
        atomic_write_text(path.parent / PLOTLY, get_plotlyjs())
    atomic_write_text(path, template.render(**shown))
    return path


def context(run: Run, say: Callable[[str], None], *, with_pictures: bool) -> dict[str, Any]:
    """Returns what the template shows."""
    said: list[str] = []

    def tell(message: str) -> None:
        said.append(message)
        say(f"report: {message}")

    def shown(what: str, make: Callable[[Run], Any]) -> Any:
        """Returns a part of the page; where a damaged file has it, nothing, which is said."""
        with harmless(tell, what):
            return make(run)
        return []

    figures = curves(run.train, run.val)
    found: dict[str, Any] = {}
    with harmless(tell, "precision of classes, and pictures"):
        found = evaluation_of(run, tell, with_pictures=with_pictures)
    figures |= found.pop("figures", {})
    folder = Path(__file__).parent
    files = (folder / name for name in ("page.css", "page.js"))
    style, script = (file.read_text(encoding="utf-8") for file in files)
    return {
        "run": run,
        "style": style,
        "script": script,
        "plotly": get_plotlyjs() if figures else "",
        "figures": {name: figure["title"] for name, figure in figures.items()},
        "data_of_figures": htmlsafe_json_dumps(
            {"figures": figures, "classes": found.pop("curves", [])}, dumps=json_text
        ),
        "headlines": words.headlines(run),
        "facts": shown("what was trained", facts),
        "config": config_text(run),
        "data": [row for split in shown("data", data) for row in split],
        "columns": list(COLUMNS.values()),
        "coco": words.coco_rows(run.metrics),
        "metrics": words.other_rows(run.metrics),
        "measured": measured(run),
        "classes": found.get("classes", []),
        "kinds": found.get("kinds", []),
        "least_score": found.get("least_score"),
        "shown_classes": found.get("shown_classes"),
        "pictures": found.get("pictures", []),
        "memory": shown("memory", memory),
        "time": shown("time", time),
        "starts": shown("starts", starts),
        "versions": run.last.get("versions", {}),
        "said": said,
        "version": resnext_backbones.__version__,
        "when": now(),
        "plain": plain,
    }


def measured(run: Run) -> str:
    """Returns when the metrics were measured, and on what; "" where it is not known."""
    noted = run.evaluation
    if not noted:
        return ""
    by = "in training" if noted.get("split") == "val" else "by a test"
    step = f" at step {noted['step']:,}" if isinstance(noted.get("step"), int) else ""
    images = noted.get("image_ids")
    of = f"{len(images):,} images of " if isinstance(images, list) else ""
    truth = f", on {of}{noted['annotations']}" if noted.get("annotations") else ""
    return f"Measured {by}{step}{truth}."


def facts(run: Run) -> list[tuple[str, str]]:
    """Returns what was trained, and from what."""
    rows = [(str(name), str(value)) for name, value in run.first.get("facts", ())]
    found = run.first.get("weights")
    weights: Mapping[str, Any] = found if isinstance(found, dict) else {}
    rows.append(("weights", str(weights.get("source", "random" if run.record else ""))))
    rows.append(("their SHA-256", str(weights.get("sha256", ""))))
    if run.checkpoints:
        last = run.checkpoints[-1]
        rows.append(("last checkpoint", f"{last.get('file', '')}, step {last.get('iter', '')}"))
        rows.append(("its SHA-256", str(last.get("sha256", ""))))
    rows.append(("steps", f"{run.steps:,}" if run.steps else ""))
    return [(name, value) for name, value in rows if value]


def config_text(run: Run) -> tuple[str, str] | None:
    """Returns the name of the config, as the run wrote it, and its text."""
    if run.config is None:
        return None
    text = run.config.read_text(encoding="utf-8", errors="replace")
    return run.config.name, text[:CONFIG_BYTES]


def data(run: Run) -> list[list[dict[str, Any]]]:
    """Returns what was found in the annotations of each split, and what they hold."""
    splits = run.last.get("data")
    return [
        [{"split": split, **_file(each)} for each in files]
        for split, files in (splits if isinstance(splits, dict) else {}).items()
    ]


def _file(found: Mapping[str, Any]) -> dict[str, Any]:
    summary = found.get("summary") or {}
    categories = sorted(summary.get("categories", ()), key=lambda pair: -pair[1])
    sizes = summary.get("objects") or {}
    return {
        "path": found.get("annotations", ""),
        "sha256": found.get("sha256", ""),
        "rows": [
            ("images", f"{summary.get('images', 0):,}"),
            ("without objects", f"{summary.get('images_without_objects', 0):,}"),
            ("objects", f"{summary.get('annotations', 0):,}"),
            ("crowds among them", f"{summary.get('crowds', 0):,}"),
            *((f"{name} objects", f"{count:,}") for name, count in sizes.items()),
            ("categories", f"{len(categories):,}"),
        ],
        "categories": [(name, f"{count:,}") for name, count in categories[:SHOWN]],
        "more": max(0, len(categories) - SHOWN),
        "findings": found.get("findings") or [],
    }


def memory(run: Run) -> dict[str, Any] | None:
    """Returns the memory that was planned and what was used; None where neither is known."""
    used, planned = words.most_memory(run), words.planned_memory(run)
    if used is None and planned is None:
        return None
    most = max(used or 0, planned or 0)
    rows = [
        (name, words.size(value), round(100 * value / most))
        for name, value in (("planned", planned), ("used, peak", used))
        if value is not None
    ]
    of = run.last.get("peak_of", "")
    # A plan is of tensors, as a GPU's peak is; a process has its libraries beside them.
    ratio = f"{used / planned:.2f}" if used and planned and of != PROCESS else ""
    return {"rows": rows, "ratio": ratio, "of": of}


def time(run: Run) -> list[tuple[str, str]]:
    """Returns how long steps and runs took."""
    rows = []
    if (step := words.step_seconds(run)) is not None:
        rows.append(("a step, median", words.duration(step)))
    if (share := words.waiting_share(run)) is not None:
        rows.append(("of it waiting for images", f"{100 * share:.1f} %"))
    if seconds := words.trained_seconds(run):
        rows.append(("all runs", words.duration(seconds)))
    return rows


def starts(run: Run) -> list[dict[str, str]]:
    """Returns each start in the folder: from the beginning, or from a checkpoint."""
    rows = []
    for entry in run.record:
        seconds = words.between(entry)
        rows.append(
            {
                "what": "Resumed" if entry.get("from_step") else "Start",
                "started": str(entry.get("started", "")),
                "from": f"{entry.get('from_step', 0):,}",
                "to": f"{entry['step']:,}" if "step" in entry else "stopped, or running",
                "took": words.duration(seconds) if seconds is not None else words.NONE,
                "command": str(entry.get("command", "")),
                "commit": str(entry.get("commit", "")),
                "commit_here": str(entry.get("commit_here", "")),
            }
        )
    return rows
