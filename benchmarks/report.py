"""The results of a benchmark as files, as a picture, and as a page of the documents."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import check_data
from benchmarks.columns import KINDS
from benchmarks.contestants import OWN, RECOMPUTING
from benchmarks.job import TASKS
from benchmarks.provenance import file_name
from benchmarks.tables import markdown, title
from resnext_backbones.io import atomic_write_text, replace_between

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
DATA = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- results: python -m benchmarks --document -->", "<!-- end -->"

COLOURS = {OWN: "tab:blue"}
OTHER_COLOUR = "tab:gray"


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws bars of the median seconds, with the spread, one panel for each precision.

    Where only the best settings count, these alone are shown.
    """
    shown = [row for row in result["rows"] if row.get("best", True)]
    precisions = list(dict.fromkeys(row["precision"] for row in shown))
    figure = Figure(figsize=(5.5 * len(precisions), 4.5), layout="constrained")
    figure.suptitle(f"{title(result)}\n{result['hardware']}", fontsize="medium")
    panels = figure.subplots(1, len(precisions), squeeze=False)[0]
    for axes, precision in zip(panels, precisions, strict=True):
        rows = [row for row in shown if row["precision"] == precision]
        bars = axes.barh(
            [row["label"] for row in rows],
            [row["median"] for row in rows],
            xerr=[row["spread"] * row["median"] for row in rows],
            color=[COLOURS.get(row["contestant"], OTHER_COLOUR) for row in rows],
        )
        axes.bar_label(bars, fmt="%.2f", padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set(title=precision, xlabel="seconds a step")
    FigureCanvasAgg(figure).print_png(str(path))


def write(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes the result as JSON and as a picture, named after the setting and the hardware."""
    setting = result["setting"]
    usual = TASKS[setting["task"]]
    parts = [setting["task"], setting["variant"], file_name(result["hardware"])]
    if {row["contestant"] for row in result["rows"]} == {OWN}:
        parts.append("alone")
    if len(setting["sizes"]) == 1 and tuple(setting["sizes"][0]) != usual.size:
        parts.append("x".join(map(str, setting["sizes"][0])))
    if setting["batch"] != usual.batch:
        parts.append(f"batch_{setting['batch']}")
    if len(setting["sizes"]) > 1:
        parts.append(f"{len(setting['sizes'])}_sizes")
    if setting["smooth"]:
        parts.append("smooth")
    modes = {row["mode"] for row in result["rows"]}
    if "eager" not in modes:
        parts += sorted(modes)
    elif modes & set(RECOMPUTING):
        parts.append("recompute")
    data, picture = (folder / f"{'_'.join(parts)}.{suffix}" for suffix in ("json", "png"))
    # A part of one would count as measured already.
    atomic_write_text(data, json.dumps(result, indent=1) + "\n")
    draw(result, picture)
    return [data, picture]


def _section(result: dict[str, Any], said: str) -> str:
    """Returns a result as a part of a document: what, how and where it was measured, and the
    table.
    """
    parts = f"## {title(result)}", f"```sh\n{result['command']}\n```", textwrap.fill(said, 100)
    return "\n\n".join((*parts, markdown(result)))


def section(result: dict[str, Any]) -> str:
    """Returns what was measured with a benchmark's settings as a part of a document."""
    products = result["limits"]["matrix_gflops"].items()
    limits = ", ".join(f"{gflops:.0f} GFLOP/s in {precision}" for precision, gflops in products)
    copied = f"{result['limits']['copy_gb_per_second']:.0f} GB/s"
    return _section(
        result,
        f"{result['hardware']}; a matrix product reaches {limits}, a copy {copied}. "
        f"{_versions(result)}; commit {result['commit']}. {_how(result)}",
    )


def _versions(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in result["versions"].items())


def _how(result: dict[str, Any]) -> str:
    """Says what was tried and chosen before the clock ran."""
    if "tuned" not in result:
        return "Measured before ways of convolutions were chosen where they run."
    taken = [f"{each['seconds']:.0f} s in {name}" for name, each in result["tuned"].items()]
    found = [f"Tuning took {', '.join(taken)}."] if taken else []
    for each in result.get("failed", []):
        found.append(f"{each['label']} in {each['precision']} failed: {each['error'].rstrip('.')}.")
    if result["only_best"]:
        found.append("The best of each one's settings come first.")
    return " ".join(found)


def plain_section(result: dict[str, Any]) -> str:
    """Returns what was measured without a benchmark's settings as a part of a document."""
    said = f"{result['hardware']}; {_versions(result)}; commit {result['commit']}."
    return _section(result, said)


def data_section(result: dict[str, Any]) -> str:
    """Returns what the input pipeline delivers, and what the runner takes beside the step."""
    images = result["images"]
    said = (
        f"{result['hardware']}; {images['count']} photographs of "
        f"{images['mean_bytes'] / 1e3:.0f} KB on average; commit {result['commit']}."
    )
    return f"{_section(result, said)}\n\n{runner_sentence(result['runner'])}"


def check_data_section(result: dict[str, Any]) -> str:
    """Returns what checking annotations takes."""
    size = f"{result['annotations']:,} annotations, {result['bytes'] / 1e6:.0f} MB"
    where = f"{size}, on one core of {result['hardware'].partition(',')[0]}."
    return f"## Checking annotations\n\n{where}\n\n{check_data.markdown(result)}"


def runner_sentence(runner: dict[str, Any]) -> str:
    """Returns what the runner takes beside the step."""
    return textwrap.fill(
        f"A run of {runner['steps']} steps of {1e3 * runner['step_seconds']:.0f} ms, "
        f"{runner['batch']} images each from {runner['workers']} workers, took "
        f"{runner['overhead']:.1%} more than its steps: {runner['waiting']:.1%} to take "
        "batches from the workers, which a thread does where there is a GPU, and "
        f"{runner['overhead'] - runner['waiting']:.1%} for all else.",
        100,
    )


def update_document(document: Path = DOCUMENT) -> Path:
    """Writes the sections of all results in `DATA` into a document, between its markers."""
    plain = ((kind.files, plain_section) for kind in KINDS.values() if kind.files)
    others = (*plain, ("data_*.json", data_section), ("check_data_*.json", check_data_section))
    sections = [*map(section, read(DATA.glob("*.json")))]
    for pattern, written in others:
        sections += map(written, _loaded(DATA.glob(pattern)))
    replace_between(document, BEGIN, END, "\n\n".join(sections))
    return document


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Returns the results that `write` wrote, and nothing else that lies beside them."""
    return [result for result in _loaded(paths) if "setting" in result]


def _loaded(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
