"""The Triton kernels as a compiler sees them; what they compute is in test_grouped.py."""

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


@pytest.mark.parametrize(
    ("capability", "kinds"), [(80, 2), pytest.param(90, 4, marks=pytest.mark.whole)]
)
def test_they_compile_for_gpus_with_matrix_instructions(
    capability: int, kinds: int, tmp_path: Path
) -> None:
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
    *specialised, _ = (json.loads(line) for line in done.stdout.splitlines()[:3])
    for names in (found["specialised"] for found in specialised):
        assert {name for name in names if not name.endswith("_ptr")} == {"channels"}, (
            "a new image size would compile the kernel again"
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 3 * kinds
    for row in rows:
        assert row["shared"] <= SMALLEST_GPU, row
        assert row["matrix"] == (row["PRECISION"] != "ieee"), row
        assert row["wide_loads"], row
