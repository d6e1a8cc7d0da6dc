"""Measures entries in turn, and checks first that they compute the same."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import worker
from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.flops import step_flops
from benchmarks.job import PRECISIONS, TASKS, Entry, Setting, Task
from benchmarks.limits import limits
from benchmarks.provenance import provenance
from benchmarks.worker import Worker

LARGEST_ERROR = {
    "float64": 1e-12, "float32": 1e-5, "tf32": 0.05, "bfloat16": 0.2, "float16": 0.05,
}  # fmt: skip
"""Above it, outputs are not those of the same network. The error is the norm of the difference
over the norm of the reference. Rounding to 8 bits of mantissa in each of a hundred layers leaves
a few hundredths."""

AT_ONCE = {"cuda": 6}
"""Entries that are prepared at the same time, by the type of the device: what compiling for a GPU
takes is the processor's time, of which machines with one have enough."""

NOTHING_IN_COMMON = 0.5
"""The outputs of another network lie about 1 away."""


class DisagreementError(RuntimeError):
    """An implementation computes something else from the same weights."""


def run(
    setting: Setting, entries: Sequence[Entry], *, turns: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure what is possible of the entries.

    Every entry has a process of its own; they take their turns one after another, so that
    whatever slows the machine down meets all of them.

    Args:
        setting: of all entries.
        entries: the first peer among them computes the outputs and gradients that all are
            compared with, in float64 where it can.
        turns: of each entry, after one that warms up.
        say: is told what is going on.

    Raises:
        DisagreementError: an entry's outputs are not the reference's.
        ValueError: no entry is possible here.
    """
    entries = [entry for entry in entries if entry.is_possible(setting)]
    if not entries:
        raise ValueError(f"task {setting.task}: none of the contestants is installed")
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(setting, entries, turns, Path(folder), say)
    best = limits(setting.device, {entry.precision for entry in entries})
    for row in rows:
        _summarise(row, setting)
        if row["gflops"] is not None:
            row["matrix_fraction"] = row["gflops"] / best["matrix_gflops"][row["precision"]]
    _add_ratios(rows)
    return {
        "setting": asdict(setting),
        "rows": rows,
        "limits": best,
        **provenance(setting.device),
    }


def _measure(
    setting: Setting, entries: list[Entry], turns: int, folder: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    say(f"computing the reference in {TASKS[setting.task].reference}")
    reference = _reference(setting, entries, folder)
    workers = [Worker(setting, entry) for entry in entries]
    prepare = partial(_prepare, setting, folder, reference, say)
    try:
        with ThreadPoolExecutor(AT_ONCE.get(torch.device(setting.device).type, 1)) as pool:
            rows = list(pool.map(prepare, workers))
        for number in range(turns):
            for worker_, row in zip(workers, rows, strict=True):
                row["seconds"].append(worker_.call(worker.turn))
            say(f"turn {number + 1} of {turns}")
        for worker_, row in zip(workers, rows, strict=True):
            row["peak_bytes"] = worker_.call(worker.peak_bytes)
            row["device_seconds"] = worker_.call(worker.device_seconds)
            if worker_.entry.mode.endswith("compiled"):
                row["graphs"] = worker_.call(worker.graphs)
            if setting.task != "inference":
                row["kept_bytes"] = worker_.call(worker.kept_bytes)
    finally:
        for worker_ in workers:
            worker_.close()
    return rows


def _prepare(
    setting: Setting,
    folder: Path,
    reference: dict[str, torch.Tensor],
    say: Callable[[str], None],
    worker_: Worker,
) -> dict[str, Any]:
    """Warms an entry up, compares what it computes, and returns the beginning of its row."""
    entry = worker_.entry
    say(f"preparing {entry.label}, {entry.precision}")
    row: dict[str, Any] = {"label": entry.label, **asdict(entry), "seconds": []}
    results = _warm_up(worker_, folder)
    if CONTESTANTS[entry.contestant].same_network:
        row |= _compare(TASKS[setting.task], entry, results, reference)
    return row


def _reference(setting: Setting, entries: list[Entry], folder: Path) -> dict[str, torch.Tensor]:
    """Returns what a peer's network gives, or this package's; nothing where there is none."""
    names = [entry.contestant for entry in entries if CONTESTANTS[entry.contestant].same_network]
    if not names:
        return {}
    name = next((name for name in names if name != OWN), OWN)
    worker_ = Worker(setting, Entry(name, TASKS[setting.task].reference))
    try:
        return _warm_up(worker_, folder)
    finally:
        worker_.close()


def _warm_up(worker_: Worker, folder: Path) -> dict[str, torch.Tensor]:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        worker_.call(worker.warm_up, Path(file.name))
        return torch.load(file.name, weights_only=True)


def _compare(
    task: Task,
    entry: Entry,
    results: dict[str, torch.Tensor],
    reference: dict[str, torch.Tensor],
) -> dict[str, float]:
    """Largest relative error of the outputs, and of the gradients that both have."""
    found: dict[str, list[float]] = {}
    for name in results.keys() & reference.keys():
        kind = "output_error" if name.startswith("output ") else "gradient_error"
        exact = reference[name]
        error = ((results[name].double() - exact).norm() / exact.norm()).item()
        found.setdefault(kind, []).append(error)
    # The largest by PyTorch: Python's max passes over a NaN.
    errors = {kind: torch.tensor(values).max().item() for kind, values in found.items()}
    largest = min(LARGEST_ERROR[entry.precision] * task.amplifies, NOTHING_IN_COMMON)
    if not errors["output_error"] <= largest:
        raise DisagreementError(
            f"{entry.label}, {entry.precision}: the outputs differ from the reference by "
            f"{errors['output_error']:.1e} of their norm"
        )
    return errors


def _summarise(row: dict[str, Any], setting: Setting) -> None:
    """Median and spread (half of the range between the quartiles, over the median)."""
    seconds = row["seconds"]
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (median,) * 3
    flops = step_flops(setting, row["contestant"])
    row["median"] = median
    row["spread"] = (high - low) / 2 / median
    row["images_per_second"] = setting.batch * len(setting.sizes) / median
    row["gflops"] = None if flops is None else flops / median / 1e9


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """Seconds over those of the fastest peer in the same precision.

    A peer is another implementation of the same network.
    """
    for precision in PRECISIONS:
        same = [row for row in rows if row["precision"] == precision]
        peers = [
            row["median"]
            for row in same
            if CONTESTANTS[row["contestant"]].same_network and row["contestant"] != OWN
        ]
        for row in same:
            row["ratio"] = row["median"] / min(peers) if peers else None
