"""Which operators mmcv calls, in processes of their own: a module is imported once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torchvision
from torch import nn

from resnext_backbones.mmcv_ops import OperatorAbsent, Operators, check_operators
from resnext_backbones.mmcv_ops.absent import called_in

COMPILED = """
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *_, **__: f"compiled {name}"

def get_compiling_cuda_version():
    return "not available"
"""
"""Stands where mmcv's compiled operators would."""

PUT = "import mmcv; mmcv.__path__.append({folder!r}); "


def _python(code: str, choice: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "RESNEXT_MMCV_OPS": choice, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )


@pytest.fixture
def with_compiled(tmp_path: Path) -> str:
    """Code that puts compiled operators there."""
    (tmp_path / "_ext.py").write_text(COMPILED)
    return PUT.format(folder=str(tmp_path))


ORDERS = {
    "this first": "import resnext_backbones.mmcv_ops, mmcv.ops; ",
    "mmcv.ops first, and it failed": """
import sys
sys.modules["mmcv._ext"] = None
for name in ("mmcv.ops", "mmdet.models"):
    try:
        __import__(name)
    except ImportError:
        pass
    else:
        raise SystemExit("it did not fail")
del sys.modules["mmcv._ext"]
import resnext_backbones.mmcv_ops
import mmcv.ops
""",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_mmcv_and_mmdetection_find_operators(order: str) -> None:
    code = (
        order
        + """
import importlib.util, pkgutil, sys, torch
from mmengine.utils.dl_utils import mmcv_full_available
import mmcv, mmdet.models
from mmdet.models.dense_heads import base_dense_head, rpn_head
from mmdet.models.losses import focal_loss
extension = sys.modules["mmcv._ext"]
assert mmcv._ext is extension
assert importlib.util.find_spec("mmcv._ext").loader is not None
assert mmcv_full_available()
assert not hasattr(extension, "__wrapped__")
assert isinstance(mmcv.ops.get_compiler_version(), str)
assert isinstance(mmcv.ops.get_compiling_cuda_version(), str)
assert base_dense_head.batched_nms is rpn_head.batched_nms is mmcv.ops.batched_nms
assert focal_loss._sigmoid_focal_loss is mmcv.ops.sigmoid_focal_loss
assert focal_loss.sigmoid_focal_loss.__module__ == focal_loss.__name__  # MMDetection's own
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])
print(mmcv.ops.nms(boxes, torch.tensor([0.5, 0.6]), 0.5)[1].tolist())
"""
    )
    done = _python(code, "torchvision")
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[1]"


def test_compiled_ones_that_fit_are_taken(with_compiled: str) -> None:
    """And modules of mmcv that were imported before find what is chosen."""
    code = (
        with_compiled
        + """
import sys
import mmcv.ops
import resnext_backbones.mmcv_ops as own
print(own.OPERATORS)
for choice in ("auto", "torchvision", "compiled"):
    chosen = own.install(choice)
    modules = [module for name, module in sys.modules.items() if name.startswith("mmcv.ops.")]
    modules = [module for module in modules if hasattr(module, "ext_module")]
    assert len(modules) > 40
    assert all(module.ext_module is chosen.module is mmcv._ext for module in modules)
    print(chosen)
"""
    )
    done = _python(code)
    assert done.stderr == ""
    taken = "mmcv's compiled (they fit this torch and its devices)"
    assert [line.partition("'s (R")[0] for line in done.stdout.splitlines()] == [
        taken, taken, f"torchvision {torchvision.__version__}", taken,
    ]  # fmt: skip


def test_compiled_ones_without_cuda_are_left_on_a_gpu(with_compiled: str) -> None:
    code = (
        with_compiled + "import torch; torch.cuda.is_available = lambda: True; "
        "import resnext_backbones.mmcv_ops as o; print(o.OPERATORS)"
    )
    assert "mmcv's compiled ones have no CUDA" in _python(code).stdout


def test_compiled_ones_that_do_not_load_count_as_none(tmp_path: Path) -> None:
    """As those for another torch do: their symbols are undefined."""
    (tmp_path / "_ext.py").write_text("raise ImportError('undefined symbol: _ZN2at')")
    code = (
        PUT.format(folder=str(tmp_path))
        + """
import resnext_backbones.mmcv_ops as own
from resnext_backbones.errors import InputError
print(own.OPERATORS)
import mmcv.ops
for choice in ("compiled", "cuda"):
    try:
        own.install(choice)
    except InputError as error:
        print(error)
"""
    )
    done = _python(code)
    assert done.stderr == ""
    found, compiled, unknown = done.stdout.splitlines()
    why = "mmcv's compiled ones do not load: undefined symbol: _ZN2at"
    assert found.endswith(f"({why})")
    assert compiled.startswith(f"RESNEXT_MMCV_OPS=compiled, but {why}; ")
    assert "pip install" in compiled
    assert unknown == ("RESNEXT_MMCV_OPS must be one of auto, torchvision, compiled, got 'cuda'")


def test_every_name_that_mmcv_asks_for_is_there(operators: Operators) -> None:
    """Computed, or with one error that names the operator and how to have it."""
    import mmcv.ops

    names = {
        name
        for file in Path(mmcv.ops.__file__).parent.glob("*.py")
        for listed in re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", file.read_text(), re.S)
        for name in re.findall(r"'(\w+)'", listed)
    }
    assert len(names) == 113
    computed = {*operators.module.COMPUTED, "get_compiler_version", "get_compiling_cuda_version"}
    assert computed <= names
    for name in names - computed:
        assert not operators.has(name)
        with pytest.raises(OperatorAbsent, match=rf"operator {name}: .*pip install .*onedl-mmcv"):
            getattr(operators.module, name)(1, of=2)


def test_all_that_mmdetection_calls_is_computed(operators: Operators) -> None:
    """What its whole package imports from mmcv.ops."""
    import mmcv.ops
    import mmdet

    sources = "\n".join(file.read_text() for file in Path(mmdet.__file__).parent.rglob("*.py"))
    found = re.findall(r"from mmcv\.ops(?:\.\w+)? import (\(.*?\)|.*?$)", sources, re.S | re.M)
    names = {name for each in found for name in re.findall(r"[A-Za-z]\w+", each)}
    assert {"batched_nms", "MaskedConv2d", "line_nms", "nms_match", "point_sample"} <= names
    for name in names & vars(mmcv.ops).keys():
        module = getattr(getattr(mmcv.ops, name), "__module__", None) or ""
        if module.startswith("mmcv.ops."):
            # mmcv.ops.nms also suppresses boxes that MMDetection has not.
            absent = {each for each in called_in(module) if not operators.has(each)}
            assert absent <= {"nms_quadri", "nms_rotated"}, name


def test_a_detector_with_an_absent_operator_is_named(operators: Operators) -> None:
    from mmcv.ops import RoIAlign, RoIAlignRotated

    check_operators(nn.ModuleDict({"roi_align": RoIAlign(7)}), operators.has)
    turned = nn.ModuleDict({"extractor": RoIAlignRotated(7, 1.0)})
    with pytest.raises(OperatorAbsent, match=r"roi_align_rotated_.*RoIAlignRotated in ex"):
        check_operators(turned, operators.has)
