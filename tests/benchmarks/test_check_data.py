"""The benchmark of checking annotations, at a tenth of COCO's size, or less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pycocotools", reason="pycocotools is not installed")

from benchmarks.check_data import CHECK, WAYS, measure
from benchmarks.coco_like import ANNOTATIONS, IMAGES, write_like_coco


def test_the_file_is_as_coco_has_them(tmp_path: Path) -> None:
    write_like_coco(path := tmp_path / "a.json", images=300, annotations=2000)
    content = json.loads(path.read_text())
    assert [len(content[key]) for key in ("images", "annotations", "categories")] == [300, 2000, 80]
    # COCO's instances_train2017.json has 521 bytes an annotation.
    assert 400 < path.stat().st_size / 2000 < 800
    crowds = [a for a in content["annotations"] if a["iscrowd"]]
    assert all(sum(a["segmentation"]["counts"]) == 640 * 480 for a in crowds)
    assert 0 < len(crowds) < 60


@pytest.mark.whole
def test_a_tenth_of_coco_takes_a_tenth_of_its_memory() -> None:
    result = measure(IMAGES // 10, ANNOTATIONS // 10)
    rows = {row["what"]: row for row in result["rows"]}
    assert [*rows] == [*WAYS]
    found, kept = (rows[way]["found"] for way in WAYS[-2:])
    assert found == kept
    assert found["crowd"] > 500
    assert result["bytes"] > 4e7
    # All of COCO's may take 6 GB. What a process holds of its libraries is the machine's matter.
    assert rows[CHECK]["peak_bytes"] - rows[CHECK]["libraries_bytes"] < 6e9 / 10
    assert all(row["processor_seconds"] > 0 for row in rows.values())
