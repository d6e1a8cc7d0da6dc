"""MMDetection's installed package describes its model zoo."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from resnext_backbones.errors import InputError
from resnext_backbones.extras import installation
from resnext_backbones.weights.publishers import MM_FILES
from resnext_backbones.weights.registry import REGISTRY

METRICS = {"box AP": "coco/bbox_mAP", "mask AP": "coco/segm_mAP"}
"""The zoo's names of what is published, and the evaluation's."""


@dataclass(frozen=True)
class ZooDetector:
    """Describes a detector of the zoo.

    Attributes:
        urls: of its checkpoint, in the order in which to try.
        published: AP on COCO val2017 in percent, by the names of `METRICS`.
        source: where it is published.
    """

    name: str
    config: Path
    urls: tuple[str, ...]
    published: dict[str, float]
    source: str


def find_detector(name: str) -> ZooDetector:
    """Returns the detector of a name in the zoo; InputError: it has none, or not all of it."""
    root = installed_zoo()
    if root is None:
        raise InputError(
            f"{name}: no alias of `resnext list`; MMDetection, which has its zoo's names, is not "
            f"installed: {installation('mmdet')}"
        )
    rows = zoo_rows(root)
    if name in rows:
        return detector_of(rows[name], root)
    close = difflib.get_close_matches(name, [*REGISTRY, *rows], n=5, cutoff=0.5)
    hint = f"try {', '.join(close)}" if close else "`resnext list` has the aliases"
    raise InputError(f"{name}: no alias, and no detector of MMDetection's zoo; {hint}")


def detector_of(row: dict[str, Any], root: Path) -> ZooDetector:
    """Returns the detector that a row of the zoo in the folder `root` describes; InputError: it has
    no config, no checkpoint or no AP on COCO.
    """
    published = {
        metric: float(value)
        for result in row.get("Results") or ()
        if result.get("Dataset") == "COCO"
        for metric, value in (result.get("Metrics") or {}).items()
        if metric in METRICS
    }
    address = row.get("Weights")
    if not published or not address:
        lack = "box or mask AP on COCO" if address else "checkpoint"
        raise InputError(f"{row['Name']}: the zoo has no {lack} of it")
    first, *mirrors = MM_FILES
    mirrored = [base + address.removeprefix(first) for base in mirrors if address.startswith(first)]
    config = Path(unquote(row["Config"]))  # which some rows have as a part of an address
    if not (root / config).is_file():
        raise InputError(f"{row['Name']}: the zoo names a config of it that is not there, {config}")
    readme = f"https://github.com/open-mmlab/mmdetection/tree/main/{config.parent.as_posix()}"
    return ZooDetector(row["Name"], root / config, (address, *mirrored), published, readme)


def zoo_rows(root: Path) -> dict[str, dict[str, Any]]:
    """Returns what the zoo, configs/*/metafile.yml, says of each of its models, by their names."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is built
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(root.glob("configs/*/metafile.yml")):
        content = yaml.load(path.read_text(encoding="utf-8"), loader)
        rows = content.get("Models") if isinstance(content, dict) else content
        found |= {row["Name"]: row for row in rows or ()}
    return found


def installed_zoo() -> Path | None:
    """Returns the folder that MMDetection installs its configs in; None without MMDetection."""
    spec = find_spec("mmdet")
    return Path(spec.origin).parent / ".mim" if spec and spec.origin else None
