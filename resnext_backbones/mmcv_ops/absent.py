"""Operators that only a compiled mmcv has, and what to say where one is asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache
from inspect import getsource
from typing import Any, NoReturn

from torch import nn

from resnext_backbones.errors import InputError

BUILD_MMCV = (
    'pip install "setuptools<81" wheel packaging ninja psutil && '
    "pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir "
    "--no-binary onedl-mmcv onedl-mmcv"
)
"""Compiles mmcv against the installed torch, which its set-up sees without pip's isolation alone.
The cache may hold a wheel that was built without."""


class OperatorAbsent(InputError):
    """An operator of mmcv is asked for that torchvision has nothing for, and none is compiled."""


def stand_in(name: str) -> Callable[..., NoReturn]:
    """Returns what stands in the place of an operator: it raises once it is called.

    Args:
        name: of the operator, as mmcv's extension has it.
    """

    def operator(*_: Any, **__: Any) -> NoReturn:
        raise OperatorAbsent(_message([name]))

    operator.__name__ = operator.__qualname__ = name
    return operator


def _message(names: list[str], where: str = "") -> str:
    return (
        f"mmcv's operator {', '.join(names)}{where}: torchvision has none, and none is compiled "
        f"here. It needs a C++ compiler, for GPUs CUDA's nvcc, and {BUILD_MMCV}"
    )


def check_operators(model: nn.Module, available: Callable[[str], bool]) -> None:
    """Checks that the modules of a network find the operators that they call.

    Args:
        model: a detector, whose modules of mmcv.ops are looked at.
        available: whether there is an operator of this name.

    Raises:
        OperatorAbsent: some are not there; the message names them and the module.
    """
    for name, module in model.named_modules():
        source = type(module).__module__
        called = called_in(source) if source.startswith("mmcv.ops.") else []
        if missing := [each for each in called if not available(each)]:
            raise OperatorAbsent(_message(missing, f" (of {type(module).__name__} in {name})"))


@cache
def called_in(module: str) -> list[str]:
    """Returns the names of the operators that a module of mmcv.ops calls."""
    return sorted(set(re.findall(r"\bext_module\.(\w+)", getsource(sys.modules[module]))))
