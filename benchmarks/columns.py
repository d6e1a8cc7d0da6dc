"""Each kind of result has a table with columns, and a title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Column = tuple[str, Callable[[dict[str, Any]], str]]


def _number(row: dict[str, Any], key: str, form: str, unit: float = 1.0) -> str:
    value = row.get(key)
    return "" if value is None else form.format(value / unit)


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

GROUPED_COLUMNS = (
    ("of the limit", lambda row: f"{row['fraction']:.2f}"),
    ("convolution", lambda row: row["layer"]),
    ("pass", lambda row: row["pass"]),
    ("way", lambda row: row["way"]),
    ("microseconds", lambda row: f"{1e6 * row['seconds']:.0f}"),
    ("of the plain way", lambda row: f"{row['share']:.2f}"),
    ("limit", lambda row: row["limit"]),
    ("of the step's grouped time", lambda row: f"{row['part']:.1%}"),
)
"""The same of grouped convolutions beside what the device could do."""

TRAINING_COLUMNS = (
    ("seconds of a step", lambda row: f"{row['median']:.4f}"),
    ("implementation", lambda row: row["label"]),
    ("ratio", lambda row: f"{row['ratio']:.2f}"),
    ("peak (GB)", lambda row: _number(row, "peak_bytes", "{:.2f}", 1e9)),
    ("loss, first 20 steps", lambda row: f"{row['first']:.4f}"),
    ("last 20 steps", lambda row: f"{row['last']:.4f}"),
)
"""The same of a training beside MMDetection's backbone."""


def _setting_title(setting: dict[str, Any]) -> str:
    sizes = [f"{setting['batch']} x {height} x {width}" for height, width in setting["sizes"]]
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    smooth = ", SiLU in place of ReLU" if setting["smooth"] else ""
    return f"{setting['task']}, {setting['variant']}, {size}{smooth}"


class Kind(NamedTuple):
    """Says how a kind of result is shown."""

    columns: Sequence[Column]
    title: Callable[[Any], str]
    """Is given what stands at the kind's key."""
    files: str
    """Its files in docs/benchmarks have such names; "" where another section shows them."""


KINDS = {
    "setting": Kind(COLUMNS, _setting_title, ""),
    "recipe": Kind(DATA_COLUMNS, "data, {}".format, ""),
    "epoch": Kind(
        EPOCH_COLUMNS,
        "epoch, {config}, {steps} steps of images within {scale[0]}x{scale[1]}".format_map,
        "epoch_*.json",
    ),
    "family": Kind(
        FAMILY_COLUMNS,
        "the family beside timm's, as a detector trains them, {size[0]}x{size[1]}".format_map,
        "family_*.json",
    ),
    "grouped": Kind(
        GROUPED_COLUMNS,
        "grouped convolutions of {variant}, {batch} x {height} x {width}, {precision}".format_map,
        "grouped_*.json",
    ),
    "plan": Kind(
        PLAN_COLUMNS,
        "planned and measured memory, {boxes} objects in an image".format_map,
        "plan_*.json",
    ),
    "training": Kind(
        TRAINING_COLUMNS,
        "training, {config}, {steps} steps of {images} real images".format_map,
        "training_*.json",
    ),
    "ways": Kind(
        WAYS_COLUMNS,
        "what tuning gains, {variant}, {turns} turns in one process".format_map,
        "ways_*.json",
    ),
}
"""By the key that a result of the kind has."""


def kind_of(result: dict[str, Any]) -> tuple[str, Kind]:
    """Returns the key and the kind of a result."""
    return next((key, kind) for key, kind in KINDS.items() if key in result)
