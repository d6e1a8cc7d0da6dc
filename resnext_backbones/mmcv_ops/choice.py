"""Which operators `mmcv.ops` calls."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
import torchvision

from resnext_backbones.errors import InputError
from resnext_backbones.mmcv_ops.absent import BUILD_MMCV

EXTENSION = "mmcv._ext"
"""The module of mmcv's compiled operators."""

CHOICE = "RESNEXT_MMCV_OPS"
"""Environment variable."""

RAISES = r"(\w+) requires mmcv to be compiled"
"""MMDetection's functions in the place of mmcv's begin their message with it."""

CHOICES = ("auto", "torchvision", "compiled")


@dataclass(frozen=True)
class Operators:
    """Holds the operators that `mmcv.ops` calls.

    Attributes:
        module: stands as `mmcv._ext`.
        compiled: whether they are mmcv's compiled ones.
        why: the reason for the choice, in words.
    """

    module: ModuleType
    compiled: bool
    why: str

    def __str__(self) -> str:
        whose = "mmcv's compiled" if self.compiled else f"torchvision {torchvision.__version__}'s"
        return f"{whose} ({self.why})"

    def has(self, name: str) -> bool:
        """Returns whether there is an operator of this name that computes."""
        return self.compiled or name in self.module.COMPUTED


def install(choice: str | None = None) -> Operators:
    """Makes `mmcv.ops` call compiled operators or this package's.

    It may have been imported before: its modules call the chosen ones from here on.

    Args:
        choice: `auto`, `torchvision` or `compiled`; None takes what RESNEXT_MMCV_OPS says.

    Raises:
        InputError: there is no such choice; or it is `compiled`, and there are none that fit.
    """
    choice = choice or os.environ.get(CHOICE) or "auto"
    if choice not in CHOICES:
        raise InputError(f"{CHOICE} must be one of {', '.join(CHOICES)}, got {choice!r}")
    compiled, unfit = _compiled()
    if choice == "compiled" and unfit:
        raise InputError(f"{CHOICE}=compiled, but {unfit}; compile them: {BUILD_MMCV}")
    if compiled is None or unfit or choice == "torchvision":
        operators = Operators(_own(), compiled=False, why=unfit or f"{CHOICE}={choice}")
    else:
        operators = Operators(compiled, compiled=True, why="they fit this torch and its devices")
    sys.modules[EXTENSION] = operators.module
    _rebind(operators.module)
    return operators


@cache  # from the second choice on, an earlier one stands in its place
def _compiled() -> tuple[ModuleType | None, str]:
    """Returns mmcv's compiled operators, and why they do not fit; '' where they do."""
    try:
        module = import_module(EXTENSION)
    except ModuleNotFoundError:
        return None, "mmcv has none compiled"
    except (ImportError, OSError) as error:  # of another torch, say: an undefined symbol
        return None, f"mmcv's compiled ones do not load: {error}"
    if torch.cuda.is_available() and module.get_compiling_cuda_version() == "not available":
        return module, "mmcv's compiled ones have no CUDA"
    return module, ""


@cache
def _own() -> ModuleType:
    """Returns extension.py as a module named `mmcv._ext`.

    Its spec is that of a real module: MMEngine asks `find_spec` whether there are operators.
    """
    spec = spec_from_file_location(EXTENSION, Path(__file__).with_name("extension.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rebind(extension: ModuleType) -> None:
    """Hands the operators to what was imported before them."""
    import_module("mmcv")._ext = extension  # type: ignore[attr-defined]
    imported = [(name, module) for name, module in sys.modules.items() if module is not None]
    for name, module in imported:
        if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
            vars(module)["ext_module"] = extension
    # Where mmcv.ops could not be imported, MMDetection goes on with functions that raise.
    for name, module in imported:
        if name.startswith("mmdet."):
            for key, value in list(vars(module).items()):
                if wanted := _replaced_by(value):
                    setattr(module, key, _part_of_mmcv(wanted))


def _part_of_mmcv(name: str) -> object:
    """Returns what `mmcv.ops` calls `name`, or its module of merging cells, which it leaves out."""
    modules = map(import_module, ("mmcv.ops", "mmcv.ops.merge_cells"))
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _replaced_by(value: object) -> str | None:
    """Returns the operator in whose place MMDetection has a function that raises, if it is one."""
    function = value.__init__ if isinstance(value, type) else value  # type: ignore[misc]
    constants = getattr(getattr(function, "__code__", None), "co_consts", ())
    found = (re.match(RAISES, text) for text in constants if isinstance(text, str))
    return next((match[1] for match in found if match), None)
