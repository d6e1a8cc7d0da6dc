"""Everything here is about these operators, also where others are compiled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("mmcv", reason="mmcv is not installed")

from resnext_backbones.mmcv_ops.choice import Operators, install


@pytest.fixture(autouse=True, scope="package")
def operators() -> Iterator[Operators]:
    """This package's operators, for the length of these tests."""
    yield install("torchvision")
    install()
