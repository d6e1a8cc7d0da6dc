"""What the tests of whole detectors share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from detector_files import Files, write
from detector_peers import SUFFIXES, tiny

from resnext_backbones.weights.preprocessing import RGB
from resnext_backbones.weights.write_detectors import convert_detector


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Tiny detectors by the names of a layout, Detectron2's too where that is not installed."""

    @cache
    def file(layout: str, classes: int = 3, *, masks: bool = True) -> Path:
        folder = tmp_path_factory.mktemp(layout)
        own = write(tiny(classes, masks=masks).content(), folder / "own.pth")
        path = folder / f"written{SUFFIXES[layout]}"
        convert_detector(own, path, layout, pixels=RGB)
        return path

    return file
