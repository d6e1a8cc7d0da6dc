"""Shared by the tests of the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from resnext_backbones.engine.launchers import LAUNCHERS

SAID = ("MASTER_", "TORCHELASTIC_", "SLURM_", "LOCAL_WORLD_SIZE")
"""Launchers set variables that begin so, beside those of the table."""


@pytest.fixture
def no_launcher() -> Iterator[None]:
    """The process of the tests is one alone, whatever it was started by and a test has set."""
    table = {name for row in LAUNCHERS for names in row.needed for name in names}
    with mock.patch.dict(os.environ):
        for name in list(os.environ):
            if name in table or name.startswith(SAID):
                del os.environ[name]
        yield
