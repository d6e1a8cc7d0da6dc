"""The Triton kernels as a compiler sees them; what they compute is in test_passes.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

SMALLEST_GPU = 99 * 1024
"""Shared memory of a block where it is least since 2020: capabilities 8.6 and 8.9."""

SPECIALISED = dict.fromkeys(("fold", "unfold"), "values")
SPECIALISED |= dict.fromkeys(("finish", "finish_backward"), "channels")


@pytest.mark.whole
@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile_for_gpus_of_today(capability: int, tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_triton.py")
    done = subprocess.run(
        [sys.executable, str(script), str(capability)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 8
    for row in rows:
        # An image's size is not among them: a new one would compile the kernel again.
        assert row["specialised"] == [SPECIALISED[row["kernel"]]], row
        assert row["shared"] <= SMALLEST_GPU, row
        assert row["wide_loads"], row
