"""The benchmark of the input pipeline, in little."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from benchmarks import data
from benchmarks.report import data_section
from benchmarks.tables import table
from resnext_backbones.errors import InputError


def test_every_part_is_measured(coco_tiny: Path) -> None:
    images = coco_tiny / "val2017"
    result = data.measure(images, cores=2, turns=1, batch=4, seconds=0.2, steps=4)
    names = [(row["what"], row["cores"]) for row in result["rows"]]
    parts = ("decode", "decode and resize", "decode and augment", "full loader")
    assert names == [(part, cores) for part in parts for cores in (1, 2)]
    assert all(row["images_per_second"] > 1 for row in result["rows"])
    assert result["runner"]["steps"] == 4
    assert result["runner"]["step_seconds"] >= 0.1
    assert result["runner"]["overhead"] > result["runner"]["waiting"] > 0
    result["command"] = "python"
    section = data_section(result)
    assert "| full loader | 2 |" in section
    assert "80 photographs" in section
    console = Console(width=100, record=True)
    console.print(table(result))
    assert "of decode and resize" in console.export_text()


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no JPEG images"):
        data.measure(tmp_path, cores=1, turns=1)
