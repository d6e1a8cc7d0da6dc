"""Measures how far two results lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

Tree = Any
"""Tensors, arrays and numbers in lists and mappings."""


def as_arrays(tree: Tree) -> Tree:
    """Returns the same tree with NumPy arrays for tensors: they travel between processes."""
    if isinstance(tree, Tensor):
        return tree.detach().float().numpy() if tree.is_floating_point() else tree.numpy()
    if isinstance(tree, Mapping):
        return {key: as_arrays(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [as_arrays(value) for value in tree]
    return tree


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest difference over the largest value of the reference.

    Integers differ by nothing or by infinity, and so do shapes, and whatever is not finite.
    """
    if value.shape != reference.shape or not np.issubdtype(value.dtype, np.floating):
        return 0.0 if np.array_equal(value, reference) else float("inf")
    if not value.size:
        return 0.0
    if not (np.isfinite(value).all() and np.isfinite(reference).all()):
        return float("inf")
    difference = np.abs(value.astype(np.float64) - reference).max()
    return float(difference / (np.abs(reference).max() or 1.0))


def norm_error(values: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """Returns the norm of the difference over the norm of the reference."""
    pairs = zip(values, references, strict=True)
    difference = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in pairs)
    norm = sum(float(np.square(each.astype(np.float64)).sum()) for each in references)
    if not np.isfinite(difference) or not np.isfinite(norm):
        return float("inf")
    return float((difference / norm) ** 0.5) if norm else float(difference > 0) and float("inf")
