"""This package's configs have names, and results to reach (`results.toml` beside them)."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resnext_backbones.errors import InputError, some

INSTALLED_CONFIGS = Path(__file__).parents[1] / ".mim" / "configs"
METRICS = ("box AP", "mask AP", "top-1", "top-1 error")
UNPUBLISHED = "no published result"

NEARLY = 0.8
"""Names that agree so far are one name, misspelt, where nothing else could be meant."""


@dataclass(frozen=True)
class Result:
    """A result that is published for a config with a network."""

    config: str
    network: str  # the config's own, or what `--variant` takes
    metrics: dict[str, float]  # in percent, by the names of `METRICS`
    gigabytes: float | None  # memory of a GPU at 2 images, where the source says it
    source: str
    weights: str = ""  # an alias of the registry that has the result

    @property
    def words(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.metrics.items())


def find_config(name: str, *, folder: str = "") -> Path:
    """Returns the path of a config, which is given by its path, or by its name in this package; in
    a folder of it, names may be with the folder or without. Raises InputError where there is none.
    """
    installed = INSTALLED_CONFIGS / folder
    inner = name.removeprefix(f"{folder}/") if folder else name
    for path in (Path(name), installed / inner, installed / f"{inner}.py"):
        if path.is_file():
            return path
    wanted = inner.removesuffix(".py").rpartition("configs/")[2]
    names = config_names(folder)
    names = [each for each in names if Path(each).parent == Path(wanted).parent] or names
    near = closest(wanted, names)
    raise InputError(f"config {name}: no such file, and no config of this name; try {near}")


def config_names(folder: str = "") -> list[str]:
    """Returns the names that `find_config` knows, sorted."""
    installed = INSTALLED_CONFIGS / folder
    paths = (path.relative_to(installed) for path in installed.rglob("*.py"))
    return sorted(str(path.with_suffix("")) for path in paths if "_base_" not in path.parts)


def check_variant(name: str, known: Iterable[str], config: str | Path) -> None:
    """Raises InputError, with the names that are close, where a config takes no such network."""
    if name not in (names := list(known)):
        near = closest(name, names)
        raise InputError(f"variant {name}: config {config} has no such network; try {near}")


def joined(variant: str, config: str) -> str:
    """Returns a name that tells networks of a recipe apart: `resnext50_32x4d_a1`."""
    return config if variant in config else f"{variant}_{config}"


def closest(name: str, names: list[str]) -> str:
    """Returns the names that one could have been meant for, or some of all."""
    return some(difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names)


@cache
def published_results() -> tuple[Result, ...]:
    """Returns every row of the file, in its order."""
    content = tomllib.loads((INSTALLED_CONFIGS / "results.toml").read_text(encoding="utf-8"))
    return tuple(
        Result(
            row["config"],
            row["network"],
            {name: row[name] for name in METRICS if name in row},
            row.get("GB"),
            row["source"],
            row.get("weights", ""),
        )
        for row in content["results"]
    )


def listing(contains: str = "") -> list[str]:
    """Returns a line for each config and network with this in its name: what they should reach, and
    who says so.
    """
    lines = []
    for name in config_names():
        rows = [r for r in published_results() if r.config == name]
        cells = [(r.network, r.words, r.source) for r in rows] or [("", UNPUBLISHED, "")]
        lines += [
            f"{name:44} {network:18} {words:26} {source}".rstrip()
            for network, words, source in cells
            if contains in name or contains in network
        ]
    return lines


def markdown() -> str:
    """Returns the table of MMDetection's detectors."""
    lines: list[tuple[str, ...]] = [("config", "box AP", "mask AP", "GB a GPU"), ("---",) * 4]
    for row in published_results():
        if "/" not in row.config:
            cells = (row.metrics["box AP"], row.metrics.get("mask AP"), row.gigabytes)
            lines.append((f"`{row.config}`", *("" if v is None else f"{v:.1f}" for v in cells)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
