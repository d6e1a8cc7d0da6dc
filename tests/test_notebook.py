"""The notebook of the first half hour: what is committed of it, and that it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

ROOT = Path(__file__).parents[1]
NOTEBOOK = nbformat.read(ROOT / "examples" / "first_half_hour.ipynb", as_version=4)
PRINTED = {
    "aliases": "torchvision/resnext101_32x8d.v2",
    "backbone": "(256, 512, 1024, 2048) (4, 8, 16, 32)",
    "picture": "stride 32: (1, 2048, 4, 4)",
    "plan": "Fits 8.00 GB",
    "check": "accepted: ",
    "run": "done: first_run",
    "torchvision": "['boxes', 'labels', 'scores']",
    "mmdetection": "resnext_backbones.adapters.openmmlab.ResNeXt",
    "whole": "LoadedWeights(",
    "half": "50 missing: layer4.0.bn1.bias",
}
"""What a cell says where it did what it is for. A command that fails ends no notebook."""


def test_it_is_committed_without_outputs() -> None:
    nbformat.validate(NOTEBOOK)
    assert {cell.cell_type for cell in NOTEBOOK.cells} == {"markdown", "code"}
    for cell in NOTEBOOK.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert len(cell.source.splitlines()) <= 12, cell.id
    assert "/home/" not in nbformat.writes(NOTEBOOK)


@pytest.mark.whole
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment of the tests, with the commands that are installed there."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("RESNEXT_BACKBONES_NO_REPORT")
    notebook = nbformat.from_dict(NOTEBOOK)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": tmp_path}}
    ).execute()
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    for name, expected in PRINTED.items():
        said = "".join(
            output.get("text") or output.get("data", {}).get("text/plain", "")
            for output in cells[name].outputs
        )
        assert expected in said, f"{name}: {said[-2000:]}"
    assert any("image/png" in output.get("data", {}) for output in cells["plot"].outputs)
    assert list(tmp_path.glob("resnext_*/first_run/report.html"))
