"""Bad input, and what its messages are made of."""

from __future__ import annotations

from collections.abc import Iterable

BUILD_ERRORS = (ValueError, TypeError, KeyError, AssertionError)
"""What a framework's registry or config raises where an argument is wrong."""

NO_GPU_FOR_FP16 = "--amp fp16: no GPU here, training in float32; bf16 would do"


class InputError(Exception):
    """Something that the user gave is missing or wrong; the message says what and what to do."""


def some(names: Iterable[str], limit: int = 5) -> str:
    """The first few, and how many there are."""
    names = list(names)
    return ", ".join(names[:limit]) + (f", ... ({len(names)})" if len(names) > limit else "")
