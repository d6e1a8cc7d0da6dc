"""What the tests share: real images, where they are, and quiet frameworks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
COCO_TINY = Path(os.environ.get("COCO_TINY", ROOT.parent / "shared" / "data" / "coco_tiny"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """80 + 80 images of COCO with their annotations, in COCO's layout."""
    if not COCO_TINY.is_dir():
        pytest.skip(f"no real COCO images: {COCO_TINY} is absent; COCO_TINY names another place")
    return COCO_TINY
