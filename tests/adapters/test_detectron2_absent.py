"""Without Detectron2 everything else works, and the adapter says in one line what to do."""

from __future__ import annotations

import subprocess
import sys


def test_the_adapter_says_how_to_install_detectron2() -> None:
    code = (
        "import sys; sys.modules['detectron2'] = None\n"
        "import resnext_backbones\n"
        "try: import resnext_backbones.adapters.detectron2\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert len(done.stdout.splitlines()) == 1
    assert "not on PyPI" in done.stdout
    assert "git+https://github.com/facebookresearch/detectron2.git" in done.stdout
