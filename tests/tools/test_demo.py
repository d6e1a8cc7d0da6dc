"""The demo, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
from tooling import QUICK, run

pytest.importorskip("mmdet", reason="MMDetection is not installed")


def test_demo_at_a_tiny_size(tmp_path: Path) -> None:
    done = run(
        "demo.py", "--work-dir", tmp_path / "demo", "--num-train", 16, "--num-val", 4,
        "--cfg-options", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    folder = Path(done.stdout.rstrip().splitlines()[-1])
    assert folder == tmp_path / "demo"
    assert {"coco_metrics.json", "coco_metrics.txt", "curves.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert len(list((folder / "pictures").iterdir())) == 4


def test_demo_on_real_images(coco_tiny: Path, tmp_path: Path) -> None:
    done = run(
        "demo.py", "--work-dir", tmp_path / "demo", "--coco-root", coco_tiny,
        "--num-train", 16, "--num-val", 4, "--cfg-options", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "demo" / "pictures").iterdir())) == 4
    again = run("demo.py", "--work-dir", tmp_path / "demo", "--coco-root", coco_tiny)
    assert again.returncode == 2
    assert "exists already" in again.stderr
