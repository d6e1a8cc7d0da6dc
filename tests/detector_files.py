"""Files of whole detectors: written, and their tensors by their names."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
Files = Callable[..., Path]


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def tensors_in(path: Path) -> State:
    """What a file of any layout holds, by its names."""
    if path.suffix == ".pkl":
        arrays = pickle.loads(path.read_bytes())["model"]
        return {key: torch.from_numpy(array) for key, array in arrays.items()}
    content = torch.load(path, weights_only=True)
    return content.get("state_dict") or content.get("model") or content


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def same_bits(first: State, second: State) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(bits(value), bits(second[key])), key
