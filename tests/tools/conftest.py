"""A training run that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_once import MadeOnce
from tooling import train_shapes


@pytest.fixture(scope="session")
def trained(shapes_root: Path, made_once: MadeOnce) -> tuple[Path, str]:
    """A work directory of a finished run, and what the run printed."""

    def train(folder: Path) -> None:
        done = train_shapes(folder / "run", shapes_root, "--weights", "none")
        assert done.returncode == 0, done.stderr
        (folder / "log").write_text(done.stdout + done.stderr)

    folder = made_once("trained", train)
    return folder / "run", (folder / "log").read_text()
