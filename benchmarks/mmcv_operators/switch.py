"""Two processes that differ in one thing: which of mmcv's operators they run."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch

SWITCH = "RESNEXT_MMCV_OPS"
REFERENCE, OWN = "compiled", "torchvision"


def process_with(operators: str, threads: int) -> ProcessPoolExecutor:
    """Returns one process that imports mmcv with these operators.

    Args:
        operators: a value of the switch.
        threads: of torch, in that process.
    """
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_choose,
        initargs=(operators, threads),
    )


def _choose(operators: str, threads: int) -> None:
    os.environ[SWITCH] = operators
    torch.set_num_threads(threads)
    from resnext_backbones.mmcv_ops import OPERATORS

    if OPERATORS.compiled != (operators == REFERENCE):
        raise RuntimeError(f"{SWITCH}={operators}, and the operators in use are {OPERATORS}")
