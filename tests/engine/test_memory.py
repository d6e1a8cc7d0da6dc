"""Real allocations fail, and what would take less is named."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

import numpy as np
import torch
from mmengine.config import Config

from resnext_backbones.engine.memory import (
    evaluation_options,
    is_out_of_memory,
    less_memory_named,
    training_options,
)
from resnext_backbones.errors import InputError

FAR_TOO_MUCH = 2**50
FAILURES: dict[str, Callable[[], object]] = {
    "PyTorch": lambda: torch.empty(FAR_TOO_MUCH, dtype=torch.uint8),
    "Python": lambda: bytearray(2**60),
    "NumPy": lambda: np.empty(FAR_TOO_MUCH, dtype=np.uint8),
    "a GPU": lambda: _raise(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
    "cuBLAS": lambda: _raise(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when ...")),
    "Linux": lambda: _raise(OSError(12, "Cannot allocate memory")),
}
OTHERS = {
    "a shape": lambda: torch.ones(2) @ torch.ones(3),
    "a file": lambda: Path("/no/such/file").read_bytes(),
    "a key": lambda: {}["memory"],
}


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("name", FAILURES)
def test_it_ends_with_what_takes_less(name: str) -> None:
    with (
        pytest.raises(InputError, match=r"(?s)^out of memory: .*peak .* GiB.*\n  this\n  that$"),
        less_memory_named(lambda: ["this", "that"]),
    ):
        FAILURES[name]()


@pytest.mark.parametrize("name", OTHERS)
def test_other_errors_are_left(name: str) -> None:
    with pytest.raises(Exception) as caught, less_memory_named(lambda: ["this"]):  # noqa: PT011
        OTHERS[name]()
    assert not isinstance(caught.value, InputError)
    assert not is_out_of_memory(caught.value)


def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """A convolution in a process that may take 256 MB more than it has."""
    child = os.fork()
    if not child:
        status = 1
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            now = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, now + 2**28))
            with less_memory_named(lambda: ["--amp bf16"]):
                torch.nn.Conv2d(64, 64, 3)(torch.ones(8, 64, 1024, 1024))
        except InputError as error:
            (tmp_path / "said").write_text(str(error))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "--amp bf16" in (tmp_path / "said").read_text()


CLASSIFIER = {
    "model": {"type": "resnext_backbones.ImageClassifier", "network": {}},
    "optim_wrapper": {"type": "OptimWrapper"},
    "train_dataloader": {"batch_size": 64},
    "auto_scale_lr": {"enable": True},
}
NOTHING_LEFT = {
    "model": {"type": "resnext_backbones.ImageClassifier", "network": {"recompute": True}},
    "optim_wrapper": {"type": "resnext_backbones.Bfloat16OptimWrapper"},
    "train_dataloader": {"batch_size": 1},
}


def test_what_takes_less_is_what_the_config_does_not_do_yet() -> None:
    listed = list(training_options(Config(CLASSIFIER)))
    assert [line.partition(":")[0] for line in listed] == [
        "--cfg-options model.network.recompute=True",
        "--amp bf16",
        "--cfg-options train_dataloader.batch_size=32, of 64 now",
        "smaller images",
    ]
    assert "the learning rate follows" in listed[2]
    assert len(list(training_options(Config(NOTHING_LEFT)))) == 1
    test = {
        "test_dataloader": {"batch_size": 4},
        "model": {"test_cfg": {"rcnn": {"max_per_img": 100}}},
    }
    listed = list(evaluation_options(Config(test), "test"))
    assert listed[0] == "--cfg-options test_dataloader.batch_size=2, of 4 now"
    assert listed[1] == "--cfg-options model.test_cfg.rcnn.max_per_img=50, of 100 now"
