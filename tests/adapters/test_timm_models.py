"""timm's own tests of models, run for these; its repository has them, and its package has not.

`TIMM_TEST_MODELS` is the path of its `tests/test_models.py`, and `TIMM_TEST_NAMES` what the names
match, if not those of `NAMES`, with commas between.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("timm", reason="timm is not installed")

NAMES = [
    "regnetx_002",
    "resnext26ts",
    "gcresnext26ts",
    "bat_resnext26ts",
    "eca_botnext26ts_256",
    "resnext29_8x64d",
    "skresnext50_32x4d",
    "cspresnext50",
]
"""One of each stem, and of each kind of block and stage."""

ELSEWHERE = ["load_pretrained", "features_pretrained", "naflex", "gemma", "with_features_fx"]
"""Tests that download weights, or are of networks of timm's by name."""

RUN = """
import fnmatch, sys
import pytest, timm
import resnext_backbones.adapters.timm

of_timm, patterns = timm.list_models, sys.argv[1].split(",")

def list_models(*filters, module="", **options):
    names = of_timm(*filters, **options)
    return [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in patterns)]

timm.list_models, timm.list_pretrained = list_models, lambda *_, **__: []
sys.exit(pytest.main(sys.argv[2:]))
"""


@pytest.mark.whole
def test_timms_own_tests_pass(tmp_path: Path) -> None:
    file = os.environ.get("TIMM_TEST_MODELS")
    if not file:
        pytest.skip("TIMM_TEST_MODELS does not say where timm's tests/test_models.py is")
    chosen = [f"resnext_backbones_{name}{end}" for name in NAMES for end in ("", ".*")]
    names = os.environ.get("TIMM_TEST_NAMES") or ",".join(chosen)
    without = " and ".join(f"not {name}" for name in ELSEWHERE)
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, names, str(Path(file).resolve()), "-k", without, *options],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) >= 8
