"""A training run that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from tooling import train_shapes


@pytest.fixture(scope="session")
def trained(shapes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A work directory of a finished run, and what the run printed."""
    work_dir = tmp_path_factory.mktemp("trained") / "run"
    done = train_shapes(work_dir, shapes_root, "--weights", "none")
    assert done.returncode == 0, done.stderr
    return work_dir, done.stdout + done.stderr
