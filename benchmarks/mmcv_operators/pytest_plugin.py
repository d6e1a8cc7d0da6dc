"""A pytest plugin for mmcv's tests: which operators a test called, and CUDA read as the CPU.

`pytest -p benchmarks.mmcv_operators.pytest_plugin` puts this package's operators in their place
first. With `CUDA_AS_CPU=1` in the environment a test that asks for a GPU gets the CPU, so that the
numbers it expects are compared: torch claims a GPU, and whatever is sent there stays.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import mmcv.utils
import pytest
import torch
from torch.overrides import TorchFunctionMode

from resnext_backbones.mmcv_ops import OPERATORS

AS_CPU = "CUDA_AS_CPU"
called: set[str] = set()


class CudaAsCpu(TorchFunctionMode):
    """Every device that is named cuda is the CPU."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.cuda:
            return args[0]
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        kwargs = {key: self._here(value) for key, value in (kwargs or {}).items()}
        return func(*(self._here(value) for value in args), **kwargs)

    @staticmethod
    def _here(value: Any) -> Any:
        is_cuda = isinstance(value, str | torch.device) and str(value).startswith("cuda")
        return "cpu" if is_cuda else value


def pytest_configure() -> None:
    for name, function in OPERATORS.module.COMPUTED.items():
        setattr(OPERATORS.module, name, _noted(name, function))
    if os.environ.get(AS_CPU) == "1":
        torch.cuda.is_available = lambda: True
        torch.cuda.device_count = lambda: 1
        mmcv.utils.IS_CUDA_AVAILABLE = True
        torch.amp.autocast = _autocast(torch.amp.autocast)  # type: ignore[assignment,misc]
        CudaAsCpu().__enter__()


def _autocast(autocast: Callable[..., Any]) -> Callable[..., Any]:
    """Casts as CUDA's, to float16, where it is asked for CUDA's."""
    return lambda _, **options: autocast("cpu", **({"dtype": torch.float16} | options))


def _noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        called.add(name)
        return function(*args, **kwargs)

    return call


@pytest.fixture(autouse=True)
def _operators(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Writes into the report which operators the test called."""
    called.clear()
    yield
    record_property("operators", " ".join(sorted(called)))
