"""What the configs should reach: `results.toml` beside them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

from resnext_backbones.engine.find import INSTALLED_CONFIGS, config_names

FILE = "results.toml"
METRICS = ("box AP", "mask AP", "top-1", "top-1 error")


@dataclass(frozen=True)
class Result:
    """A published result of one config with one network.

    Attributes:
        config: its name, as the commands take it.
        network: the config's own, or what `--variant` takes.
        metrics: in percent, by the names of `METRICS`.
        gigabytes: memory of a GPU at 2 images, where the source says it.
        source: where it is published.
    """

    config: str
    network: str
    metrics: dict[str, float]
    gigabytes: float | None
    source: str

    @property
    def words(self) -> str:
        """The metrics, as a line has them."""
        return ", ".join(f"{name} {value}" for name, value in self.metrics.items())


@cache
def published_results() -> tuple[Result, ...]:
    """Returns every row of the file, in its order."""
    content = tomllib.loads((INSTALLED_CONFIGS / FILE).read_text(encoding="utf-8"))
    return tuple(
        Result(
            row["config"],
            row["network"],
            {name: row[name] for name in METRICS if name in row},
            row.get("GB"),
            row["source"],
        )
        for row in content["results"]
    )


def listing(contains: str = "") -> list[str]:
    """Returns a line for each config and network: what they should reach, and who says so.

    Args:
        contains: only lines with this in the config's or the network's name.
    """
    lines = []
    for name in config_names():
        rows = [row for row in published_results() if row.config == name]
        lines += [
            f"{name:44} {row.network:18} {row.words:26} {row.source}"
            for row in rows
            if contains in name or contains in row.network
        ]
        if not rows and contains in name:
            lines.append(name)
    return lines


def markdown() -> str:
    """Returns the table of MMDetection's detectors."""
    lines: list[tuple[str, ...]] = [("config", "box AP", "mask AP", "GB a GPU"), ("---",) * 4]
    for row in published_results():
        if "/" not in row.config:
            cells = (row.metrics["box AP"], row.metrics.get("mask AP"), row.gigabytes)
            lines.append((f"`{row.config}`", *("" if v is None else f"{v:.1f}" for v in cells)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
