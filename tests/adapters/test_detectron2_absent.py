"""Without Detectron2 the adapter and the tool say in one line what to do."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "resnext_backbones" / "adapters" / "detectron2.py"
TOOL = ROOT / "tools" / "train_detectron2.py"
MESSAGE = (
    r"Detectron2 cannot be imported .*not on PyPI.*git\+https://github.com/.*/detectron2\.git'"
)


@pytest.fixture(autouse=True)
def _no_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if re.match(r"resnext_backbones\.(adapters|tasks)\.detectron2", name):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)


def test_the_adapter_says_how_to_install_detectron2() -> None:
    with pytest.raises(ImportError, match=rf"^{MESSAGE}$"):
        runpy.run_path(str(ADAPTER))


def test_so_does_the_tool(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [TOOL.name, "mask_rcnn_fpn_1x"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert ended.value.code == 2
    assert re.fullmatch(rf"error: {MESSAGE}\n", capsys.readouterr().err)
