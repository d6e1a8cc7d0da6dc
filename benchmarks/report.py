"""The results of a benchmark as a table, as a picture, and as a page of the documents."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks import check_data
from benchmarks.contestants import OWN, RECOMPUTING
from benchmarks.job import TASKS
from benchmarks.provenance import file_name
from resnext_backbones.io import replace_between

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
DATA = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- results: python -m benchmarks --document -->", "<!-- end -->"

COLUMNS = (
    ("ratio", lambda row: _number(row, "ratio", "{:.2f}")),
    ("implementation", lambda row: row["label"]),
    ("of its settings", lambda row: {True: "best", False: "slower"}.get(row.get("best"), "")),
    ("precision", lambda row: row["precision"]),
    ("seconds", lambda row: f"{row['median']:{'.3f' if row['median'] > 0.5 else '.4f'}}"),
    ("spread", lambda row: f"{row['spread']:.1%}"),
    ("processor", lambda row: _number(row, "processor_seconds", "{:.3f}")),
    ("computing", lambda row: _number(row, "device_seconds", "{:.4f}")),
    ("turns", lambda row: "" if row.get("best") is None else str(len(row["seconds"]) or 1)),
    ("images/s", lambda row: f"{row['images_per_second']:.2f}"),
    ("kept for backward (MB)", lambda row: _number(row, "kept_bytes", "{:.0f}", 1e6)),
    ("peak (GB)", lambda row: _number(row, "peak_bytes", "{:.2f}", 1e9)),
    ("GFLOP/s", lambda row: _number(row, "gflops", "{:.0f}")),
    ("of matrix product", lambda row: _number(row, "matrix_fraction", "{:.0%}")),
    ("graphs compiled", lambda row: _number(row, "graphs", "{:.0f}")),
    ("output error", lambda row: _number(row, "output_error", "{:.0e}")),
    ("gradient error", lambda row: _number(row, "gradient_error", "{:.0e}")),
)
"""Heading, and what stands in a row."""

DATA_COLUMNS = (
    ("what", lambda row: row["what"]),
    ("cores", lambda row: str(row["cores"])),
    ("images/s", lambda row: f"{row['images_per_second']:.0f}"),
    ("of decode and resize", lambda row: f"{row['ratio']:.2f}"),
)
"""The same of the task `data`."""

EPOCH_COLUMNS = (
    *COLUMNS[:4],
    ("seconds", lambda row: f"{row['median']:.1f}"),
    ("processor", lambda row: f"{row['processor_seconds']:.1f}"),
    ("median of a step", lambda row: f"{row['step_seconds']:.3f}"),
    ("peak (GB)", lambda row: _number(row, "peak_bytes", "{:.2f}", 1e9)),
    ("first loss", lambda row: f"{row['loss'][0]:.4f}"),
    ("last loss", lambda row: f"{row['loss'][-1]:.4f}"),
    ("seconds to tune before", lambda row: _number(row, "tuning_seconds", "{:.0f}")),
)
"""The same of an epoch."""

PLAN_COLUMNS = (
    ("planned of measured", lambda row: f"{row['peak_ratio']:.3f}"),
    ("config", lambda row: row["config"]),
    ("precision", lambda row: row["precision"]),
    ("changed", lambda row: row["changed"]),
    ("images", lambda row: f"{row['images']} x {row['height']} x {row['width']}"),
    ("planned peak (GB)", lambda row: _number(row, "planned_peak", "{:.3f}", 1e9)),
    ("measured", lambda row: _number(row, "peak_bytes", "{:.3f}", 1e9)),
    ("planned to be kept (MB)", lambda row: _number(row, "planned_kept", "{:.0f}", 1e6)),
    ("kept", lambda row: _number(row, "kept_bytes", "{:.0f}", 1e6)),
)
"""The same of what `resnext plan` says beside real steps."""

FAMILY_COLUMNS = (
    ("variant", lambda row: row["variant"]),
    ("kept for backward (MB)", lambda row: _number(row, "kept_bytes", "{:.0f}", 1e6)),
    ("of timm's", lambda row: f"{row['kept_bytes_ratio']:.2f}"),
    ("seconds", lambda row: _number(row, "median", "{:.3f}")),
    ("time of timm's", lambda row: _number(row, "median_ratio", "{:.2f}")),
    ("peak (GB)", lambda row: _number(row, "peak_bytes", "{:.2f}", 1e9)),
    ("of timm's peak", lambda row: _number(row, "peak_bytes_ratio", "{:.2f}")),
    *COLUMNS[-2:],
)
"""The same of the family's networks beside timm's."""

WAYS_COLUMNS = (
    ("tuned of plain", lambda row: f"{row['ratio']:.3f}"),
    ("task", lambda row: row["task"]),
    ("precision", lambda row: row["precision"]),
    ("images", lambda row: "{} x {} x {}".format(row["batch"], *row["size"])),
    ("spread", lambda row: f"{row['spread']:.1%}"),
    ("tuned (s)", lambda row: f"{row['tuned']:.3f}"),
    ("plain (s)", lambda row: f"{row['plain']:.3f}"),
    ("passes that are not plain", lambda row: str(row["chosen"])),
    ("seconds to tune before", lambda row: f"{row['tuning_seconds']:.0f}"),
)
"""The same of tuned ways beside plain ones."""

COLUMNS_OF = {
    "setting": COLUMNS,
    "recipe": DATA_COLUMNS,
    "epoch": EPOCH_COLUMNS,
    "family": FAMILY_COLUMNS,
    "plan": PLAN_COLUMNS,
    "ways": WAYS_COLUMNS,
}
"""By a key of the result."""

COLOURS = {OWN: "tab:blue"}
OTHER_COLOUR = "tab:gray"


def image_size(text: str) -> tuple[int, int]:
    """Returns height and width, for a command line."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text}: sizes are HEIGHTxWIDTH, such as 800x1344")
    return int(match[1]), int(match[2])


def _number(row: dict[str, Any], key: str, form: str, unit: float = 1.0) -> str:
    value = row.get(key)
    return "" if value is None else form.format(value / unit)


def title(result: dict[str, Any]) -> str:
    """Returns what was measured, in one line."""
    if "recipe" in result:
        return f"data, {result['recipe']}"
    if "epoch" in result:
        epoch = result["epoch"]
        scale = "x".join(map(str, epoch["scale"]))
        return f"epoch, {epoch['config']}, {epoch['steps']} steps of images within {scale}"
    if "family" in result:
        size = "x".join(map(str, result["family"]["size"]))
        return f"the family beside timm's, as a detector trains them, {size}"
    if "plan" in result:
        return f"planned and measured memory, {result['plan']['boxes']} objects in an image"
    if "ways" in result:
        ways = result["ways"]
        return f"what tuning gains, {ways['variant']}, {ways['turns']} turns in one process"
    setting = result["setting"]
    sizes = [f"{setting['batch']} x {height} x {width}" for height, width in setting["sizes"]]
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    smooth = ", SiLU in place of ReLU" if setting["smooth"] else ""
    return f"{setting['task']}, {setting['variant']}, {size}{smooth}"


def _columns(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The columns in which something stands."""
    wanted = next(columns for key, columns in COLUMNS_OF.items() if key in result)
    columns = [(head, [cell(row) for row in result["rows"]]) for head, cell in wanted]
    return [(head, cells) for head, cells in columns if any(cells)]


def table(result: dict[str, Any]) -> Table:
    """For a terminal."""
    out = Table(title=title(result), caption=result["hardware"])
    columns = _columns(result)
    for i, (head, _) in enumerate(columns):
        out.add_column(head, justify="right" if i > 1 else "left")
    for row in zip(*(cells for _, cells in columns), strict=True):
        out.add_row(*row)
    return out


def markdown(result: dict[str, Any]) -> str:
    """For a document."""
    columns = _columns(result)
    lines = [[head for head, _ in columns], ["---"] * len(columns)]
    lines += [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars of the median seconds, with the spread, one panel for each precision.

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
    """The result as JSON and as a picture, named after the setting and the hardware."""
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
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = (folder / f"{'_'.join(parts)}.{suffix}" for suffix in ("json", "png"))
    data.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, picture)
    return [data, picture]


def section(result: dict[str, Any]) -> str:
    """A result as a part of a document: what, where and how it was measured, and the table."""
    products = result["limits"]["matrix_gflops"].items()
    limits = ", ".join(f"{gflops:.0f} GFLOP/s in {precision}" for precision, gflops in products)
    copied = f"{result['limits']['copy_gb_per_second']:.0f} GB/s"
    return "\n\n".join(
        (
            f"### {title(result)}",
            f"    {result['command']}",
            textwrap.fill(
                f"{result['hardware']}; a matrix product reaches {limits}, a copy {copied}. "
                f"{_versions(result)}; commit {result['commit']}. {_how(result)}",
                100,
            ),
            markdown(result),
        )
    )


def _versions(result: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in result["versions"].items())


def _how(result: dict[str, Any]) -> str:
    """Says what was tried and chosen before the clock ran."""
    if "tuned" not in result:
        return "Measured before ways of convolutions were chosen where they run."
    taken = [f"{each['seconds']:.0f} s in {name}" for name, each in result["tuned"].items()]
    found = [f"Tuning took {', '.join(taken)}."] if taken else []
    if result["only_best"]:
        found.append("The best of each one's settings come first.")
    return " ".join(found)


def plain_section(result: dict[str, Any]) -> str:
    """Returns an epoch, the family, or what was planned, as a part of a document."""
    return "\n\n".join(
        (
            f"### {title(result)}",
            f"    {result['command']}",
            textwrap.fill(
                f"{result['hardware']}; {_versions(result)}; commit {result['commit']}.", 100
            ),
            markdown(result),
        )
    )


def data_section(result: dict[str, Any]) -> str:
    """Returns what the input pipeline delivers, and what the runner takes beside the step."""
    images, runner = result["images"], result["runner"]
    return "\n\n".join(
        (
            f"### {title(result)}",
            f"    {result['command']}",
            textwrap.fill(
                f"{result['hardware']}; {images['count']} photographs of "
                f"{images['mean_bytes'] / 1e3:.0f} KB on average; commit {result['commit']}.",
                100,
            ),
            markdown(result),
            runner_sentence(runner),
        )
    )


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


def update_document(document: Path = DOCUMENT, data: Path = DATA) -> Path:
    """Write the sections of all results in a folder into a document, between its markers."""
    sections = [section(result) for result in read(data.glob("*.json"))]
    for path in sorted(
        path for kind in ("epoch", "family", "plan", "ways") for path in data.glob(f"{kind}_*.json")
    ):
        sections.append(plain_section(json.loads(path.read_text(encoding="utf-8"))))
    for path in sorted(data.glob("data_*.json")):
        sections.append(data_section(json.loads(path.read_text(encoding="utf-8"))))
    for path in sorted(data.glob("check_data_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        size = f"{result['annotations']:,} annotations, {result['bytes'] / 1e6:.0f} MB"
        where = f"{size}, on one core of {result['hardware'].partition(',')[0]}."
        sections.append(f"### Checking annotations\n\n{where}\n\n{check_data.markdown(result)}")
    replace_between(document, BEGIN, END, "\n\n".join(sections))
    return document


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Results that `write` wrote, and nothing else that lies beside them."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    return [result for result in results if "setting" in result]
