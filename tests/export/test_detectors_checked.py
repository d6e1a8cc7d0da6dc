"""A check of a detector's file that compares nothing does not pass, or says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from resnext_backbones.errors import RunError
from resnext_backbones.export import detector_check
from resnext_backbones.export.detector_check import Found, Match, images_for, matched
from resnext_backbones.export.detector_source import Source
from resnext_backbones.export.detectors import Row, WrittenDetector, lines_of
from resnext_backbones.weights.preprocessing import RGB

SIZE = (200, 300)


def drawn(count: int, seed: int) -> Found:
    """Boxes anywhere, with scores that a detector with nothing to find has."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + 40], axis=1).astype(np.float32)
    scores = np.sort(generator.uniform(0.01, 0.0103, count))[::-1].astype(np.float32)
    return {"boxes": boxes, "labels": np.ones(count, np.int64), "scores": scores}


def test_boxes_that_have_nothing_in_common_are_refused() -> None:
    for found in (drawn(100, 1), drawn(0, 1)):
        with pytest.raises(RunError, match="are in one of both only; nothing was written"):
            matched(found, drawn(100, 0), SIZE, most=100, least=0)
    same = matched(drawn(100, 0), drawn(100, 0), SIZE, most=100, least=0)
    assert (same.pairs, same.edge, same.box) == (100, 0, 0)
    few = matched(drawn(0, 1), drawn(2, 0), SIZE, most=2, least=0)
    assert (few.pairs, few.edge) == (0, 2)


def test_what_was_compared_with_nothing_proves_little() -> None:
    network: Any = SimpleNamespace(roi_heads=SimpleNamespace(has_mask=lambda: False))
    source = Source(network, "faster_rcnn", {"variant": "x"}, RGB)
    for pairs, proves_little in ((0, True), (3, False)):
        match = Match(SIZE, pairs=pairs, box=0, score=0, mask=0, swapped=0, edge=2, moved=0)
        written = WrittenDetector(Path("x"), source, 1, 0.0, [Row(match, 0.1, 0.1)])
        assert any("proves little" in line for line in lines_of(written)) == proves_little


def test_no_more_images_are_read_than_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def image(path: Path) -> Any:
        read.append(path.name)
        return np.zeros((32 + len(read) // 2, 48, 3), np.uint8)

    monkeypatch.setattr(detector_check, "read_image", image)
    for i in range(9):
        (tmp_path / f"{i}.jpg").touch()
    sizes = [array.shape[2] for array in images_for(tmp_path, RGB)]
    assert (sizes, read) == ([32, 33, 34], ["0.jpg", "1.jpg", "2.jpg", "3.jpg"])
