"""What the tests of detection share."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnext_backbones.datasets import generate_shapes


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree in COCO's layout."""
    root = tmp_path_factory.mktemp("shapes") / "data"
    return generate_shapes(root, num_train=16, num_val=8)
