"""mmcv's own tests of the operators that are computed here, with none compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from resnext_backbones.errors import InputError

ROOT = Path(__file__).parents[2]
PLUGIN = "benchmarks.mmcv_operators.pytest_plugin"
TESTS = (
    "bbox",
    "box_iou_rotated",
    "carafe",
    "deform_conv",
    "deform_roi_pool",
    "focal_loss",
    "line_nms",
    "masked_conv2d",
    "merge_cells",
    "modulated_deform_conv",
    "ms_deformable_attn",
    "nms",
    "nms_rotated",
    "psa_mask",
    "roi_align",
    "roi_pool",
    "saconv",
    "syncbn",
)
RUNS = {"as they are": "0", "CUDA read as the CPU": "1"}
"""Most of them ask for a GPU; their expected numbers are the same on the CPU."""


def measure(checkout: Path) -> dict[str, Any]:
    """Runs the tests of a checkout of mmcv twice, and counts.

    Raises:
        InputError: the folder has none of these tests.
    """
    files = [checkout / f"tests/test_ops/test_{name}.py" for name in TESTS]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise InputError(f"{checkout}: no checkout of mmcv; not there: {', '.join(missing)}")
    return {name: summary(run(checkout, files, as_cpu)) for name, as_cpu in RUNS.items()}


def run(checkout: Path, files: list[Path], as_cpu: str) -> list[dict[str, str]]:
    """Returns name, outcome, message and called operators of every test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # -P and importlib: mmcv is the installed one, not the folder of the checkout.
        command = [sys.executable, "-P", "-m", "pytest", "-p", PLUGIN, "--import-mode=importlib"]
        command += ["-q", "--no-header", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-c", os.devnull, f"--rootdir={checkout}", *map(str, files)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_AS_CPU": as_cpu}
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        if not report.is_file():
            raise InputError(f"pytest did not run:\n{done.stdout}{done.stderr}")
        rows = list(_cases(ElementTree.parse(report).getroot()))
    for row in rows:  # what is recorded names no folder of one machine
        row["message"] = row["message"].replace(f"{checkout.resolve()}/", "")
    return rows


def _cases(report: ElementTree.Element) -> Iterator[dict[str, str]]:
    for case in report.iter("testcase"):
        noted = {p.get("name"): p.get("value") for p in case.iter("property")}
        row = {
            "name": f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}",
            "outcome": "passed",
            "message": "",
            "operators": noted.get("operators") or "",
        }
        for outcome in ("failure", "error", "skipped"):
            if (found := case.find(outcome)) is not None:
                row["outcome"] = "skipped" if outcome == "skipped" else "failed"
                row["message"] = (found.get("message") or "").splitlines()[0]
        yield row


def summary(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Returns how many ran and passed, and names the others with their reason.

    A test that returns at once where there is no GPU passes in pytest's words; those that called
    no operator are named apart.
    """
    passed = [row for row in rows if row["outcome"] == "passed"]
    return {
        "tests": len(rows),
        "passed": sum(bool(row["operators"]) for row in passed),
        "passed without an operator": [row["name"] for row in passed if not row["operators"]],
        "failed": {row["name"]: row["message"] for row in rows if row["outcome"] == "failed"},
        "skipped": {row["name"]: row["message"] for row in rows if row["outcome"] == "skipped"},
        "operators": sorted({name for row in passed for name in row["operators"].split()}),
    }
