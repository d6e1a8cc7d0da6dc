"""What the tests of transformers' networks share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small

from resnext_backbones.weights.preprocessing import RGB
from resnext_backbones.weights.write import write_state


@pytest.fixture
def quiet_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of `small()`, for pixels in RGB."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_state(small().state_dict(), path, "safetensors", RGB.to_metadata())
    return path
