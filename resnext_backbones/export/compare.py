"""A file is run in its runtime, on sizes that it was not made with, and compared with PyTorch."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnext_backbones.errors import InputError, RunError
from resnext_backbones.export.formats import Arrays, Run
from resnext_backbones.export.program import MADE_WITH
from resnext_backbones.export.subject import Subject

Size = tuple[int, int, int]
"""Images, height and width."""

USUAL, OTHERS = (1, 224, 224), ((3, 97, 161), (2, 320, 256))
"""The first stands for the sizes that are asked for; the others show that batch, height and width
are free, and that sizes need be no multiple of the strides."""

LIMIT = 1e-4
"""Results may differ by so much of an output's largest value: single precision, other kernels."""

INT8_LIMIT = 0.5
"""What 8 bits may differ by: more is no result. What they cost is a matter of accuracy."""

REPEATS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """Holds what one size showed.

    Attributes:
        error: the largest difference from PyTorch's result, over the largest value of the output;
            the largest of all outputs.
        seconds, torch_seconds: of a call, in the runtime and in PyTorch: medians of `REPEATS`,
            measured in turns.
    """

    size: Size
    error: float
    seconds: float
    torch_seconds: float


def sizes_for(asked: Sequence[tuple[int, int]], least: int) -> list[Size]:
    """Returns at least three sizes, those that are asked for among them, and the smallest. Raises
    InputError where one is smaller than the network takes.
    """
    for height, width in asked:
        if min(height, width) < least:
            raise InputError(f"--size {height}x{width}: this network takes {least} pixels and more")
    sizes = [(1, *size) for size in asked] or [USUAL]
    wanted = [*sizes, *OTHERS, (4, least, least)]
    return [size for size in dict.fromkeys(wanted) if size != MADE_WITH]


Draw = Callable[[Subject, Size], NDArray[np.float32]]


def noise(subject: Subject, size: Size) -> NDArray[np.float32]:
    """Returns normal values (N, C, H, W), always the same ones."""
    n, height, width = size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, subject.in_channels, height, width, generator=generator).numpy()


def compared(
    subject: Subject,
    run: Run,
    sizes: Sequence[Size],
    name: str,
    draw: Draw = noise,
    limit: float = LIMIT,
) -> list[Row]:
    """Returns a row for each size.

    Args:
        draw: returns the images of a size.
        limit: of the differences, as `LIMIT`.

    Raises:
        RunError: the runtime fails, returns other shapes, or other values than the network or its
            fused copy.
    """
    rows = []
    for size in sizes:
        array = draw(subject, size)
        images = torch.from_numpy(array)
        found = called(partial(run, array), f"{name}: fails on {_words(subject, size)}")
        errors = []
        for network in (subject.reference, subject.network):
            with torch.inference_mode():
                wanted = subject.values(network(images))
            errors.append(error_of(subject, found, wanted, name, size))
        if not (largest := max(errors)) <= limit:
            raise RunError(
                f"{name}: on {_words(subject, size)} it differs from PyTorch by {largest:.1e} of "
                f"the largest value, more than {limit:.0e}; the file did not get its name"
            )
        calls = partial(run, array), partial(subject.network, images)
        rows.append(Row(size, largest, *timed(*calls)))
    return rows


def called(run: Callable[[], T], failure: str) -> T:
    """Returns what a call of a runtime returns, or raises RunError with `failure`, and why."""
    try:
        return run()
    except Exception as error:  # ONNX Runtime's have no other base
        said = " ".join(str(error).split())[:400] or type(error).__name__
        raise RunError(f"{failure}: {said}") from error


def error_of(
    subject: Subject, found: Arrays, wanted: Sequence[Tensor], name: str, size: Size
) -> float:
    """Returns the largest difference over the largest value, of all outputs."""
    shapes = [tuple(value.shape) for value in found], [tuple(value.shape) for value in wanted]
    if shapes[0] != shapes[1]:
        raise RunError(
            f"{name}: on {_words(subject, size)} it returns {shapes[0]}, and PyTorch {shapes[1]}; "
            "the file did not get its name"
        )
    errors = []
    for ours, theirs in zip(found, wanted, strict=True):
        truth = theirs.numpy()
        largest = float(np.abs(truth).max())
        errors.append(float(np.abs(ours - truth).max()) / (largest or 1.0))
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def timed(*calls: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Returns the seconds of each call, medians measured in turns."""
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(repeats):
            for call, seconds in zip(calls, taken, strict=True):
                begin = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - begin)
    return [statistics.median(seconds) for seconds in taken]


def _words(subject: Subject, size: Size) -> str:
    n, height, width = size
    return f"images of {n} x {subject.in_channels} x {height} x {width}"
