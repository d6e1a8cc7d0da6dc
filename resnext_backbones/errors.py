"""Says what is wrong with an input."""

from __future__ import annotations

from collections.abc import Iterable

BUILD_ERRORS = (ValueError, TypeError, KeyError, AssertionError)
"""A framework's registry or config raises these where an argument is wrong."""

NO_GPU_FOR_FP16 = "--amp fp16: no GPU here, training in float32; bf16 would do"


class InputError(Exception):
    """Says what of the user's input is missing or wrong, and what to do."""


class RunError(Exception):
    """Says what came over a run from outside of it, such as the end of another process."""


def some(names: Iterable[str], limit: int = 5) -> str:
    """Returns the first few, and how many there are."""
    names = list(names)
    return ", ".join(names[:limit]) + (f", ... ({len(names)})" if len(names) > limit else "")
