"""A run repeats bit for bit where PyTorch can make it."""

from __future__ import annotations

import os
from typing import Any

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads this variable when it starts, and sums in one order only with a fixed workspace."""

WORKSPACE = ":4096:8"


def be_deterministic() -> None:
    """Asks PyTorch, cuDNN and cuBLAS for operators that sum in one order.

    It must be called before anything is computed on a GPU. An operator that has no such way warns,
    and says its name, once.
    """
    os.environ.setdefault(CUBLAS, WORKSPACE)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)


def make_deterministic(cfg: Any) -> None:
    """Sets that in a config of MMEngine's, with a seed: its own, or 0 where it has none."""
    be_deterministic()
    randomness = {"seed": 0, **(cfg.get("randomness") or {})}
    seed = randomness["seed"]
    cfg.randomness = {**randomness, "seed": 0 if seed is None else seed, "deterministic": True}
    # The fastest of cuDNN's algorithms is measured anew in each run.
    cfg.env_cfg = {**(cfg.get("env_cfg") or {}), "cudnn_benchmark": False}
