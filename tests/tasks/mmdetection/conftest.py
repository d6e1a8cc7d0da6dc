"""What the tests of detectors share."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectors import save_detector


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of `demo_coco` with the settings `DETECTOR`."""
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    return save_detector(tmp_path_factory.mktemp("detector") / "detector.pth", 0)
