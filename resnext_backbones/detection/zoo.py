"""MMDetection's model zoo, as the installed package describes it."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from resnext_backbones.runs.errors import InputError
from resnext_backbones.weights.registry import MM_FILES

METRICS = {"box AP": "coco/bbox_mAP", "mask AP": "coco/segm_mAP"}
"""The zoo's names of what is published, and the evaluation's."""


@dataclass(frozen=True)
class ZooDetector:
    """A detector of the zoo.

    Attributes:
        name: the zoo's.
        config: its path.
        urls: of its checkpoint, in the order in which to try.
        published: AP on COCO val2017 in percent, by the names of `METRICS`.
        source: where it is published.
    """

    name: str
    config: Path
    urls: tuple[str, ...]
    published: dict[str, float]
    source: str


def find_detector(name: str, root: Path | None = None) -> ZooDetector:
    """Returns the detector that the zoo has under a name.

    Args:
        root: the folder with configs/*/metafile.yml; None is the one that MMDetection installs.

    Raises:
        InputError: MMDetection is not installed, there is no such detector, or it has no
            checkpoint or no AP on COCO.
    """
    root = root or installed_zoo()
    if root is None:
        raise InputError(
            f"{name}: no alias of `resnext list`; MMDetection, which has its zoo's names, is not "
            "installed"
        )
    files = detector_files(root)
    if path := files.get(name):
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        rows = yaml.load(path.read_text(encoding="utf-8"), loader)["Models"]
        return _detector(next(row for row in rows if row["Name"] == name), path, root)
    close = difflib.get_close_matches(name, files, n=5, cutoff=0.5)
    hint = f"try {', '.join(close)}" if close else "`resnext list` has the aliases of classifiers"
    raise InputError(f"{name}: no alias, and no detector of MMDetection's zoo; {hint}")


def _detector(row: dict[str, Any], path: Path, root: Path) -> ZooDetector:
    published = {
        metric: float(value)
        for result in row.get("Results") or ()
        if result.get("Dataset") == "COCO"
        for metric, value in result["Metrics"].items()
        if metric in METRICS
    }
    address = row.get("Weights")
    if not published or not address:
        lack = "box or mask AP on COCO" if address else "checkpoint"
        raise InputError(f"{row['Name']}: {path} has no {lack} of it")
    first, *mirrors = MM_FILES
    mirrored = [base + address.removeprefix(first) for base in mirrors if address.startswith(first)]
    readme = f"https://github.com/open-mmlab/mmdetection/tree/main/configs/{path.parent.name}"
    return ZooDetector(row["Name"], root / row["Config"], (address, *mirrored), published, readme)


def detector_files(root: Path) -> dict[str, Path]:
    """Returns the zoo's names, each with the file that describes it."""
    return {
        name: path
        for path in sorted(root.glob("configs/*/metafile.yml"))
        for name in re.findall(r"^ +- Name: (\S+)$", path.read_text(encoding="utf-8"), re.M)
    }


def installed_zoo() -> Path | None:
    """Returns the folder that MMDetection installs its configs in; None without MMDetection."""
    spec = find_spec("mmdet")
    return Path(spec.origin).parent / ".mim" if spec and spec.origin else None
