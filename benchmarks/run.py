"""Measures entries in turn, and checks first that they compute the same."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import best, worker
from benchmarks.best import Row
from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.flops import step_flops
from benchmarks.job import COMPILED, TASKS, Entry, Setting, Task
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

NOTHING = 1e-12
"""A reference of so small a share of the largest one's norm is zero, but for rounding."""

NOTHING_IN_COMMON = 0.5
"""The outputs of another network lie about 1 away."""


class DisagreementError(RuntimeError):
    """An implementation computes something else from the same weights."""


def run(
    setting: Setting,
    entries: Sequence[Entry],
    *,
    turns: int,
    only_best: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measures what is possible of the entries.

    Every entry has a process of its own; they take their turns one after another, so that
    whatever slows the machine down meets all of them.

    Args:
        setting: of all entries.
        entries: the first peer among them computes the outputs and gradients that all are
            compared with, in float64 where it can.
        turns: of each entry, after one that warms up.
        only_best: each contestant's best entry counts, and those that cannot be it are dropped as
            soon as that shows: `benchmarks.best`.
        say: is told what is going on.

    A peer's entry that cannot be prepared is left out, and the result says why.

    Raises:
        DisagreementError: an entry's outputs are not the reference's.
        RuntimeError: no peer's entry can be prepared.
        ValueError: no entry is possible here.
    """
    entries = [entry for entry in entries if entry.is_possible(setting)]
    if not entries:
        raise ValueError(f"task {setting.task}: none of the contestants is installed")
    tuned = _tune(setting, entries, say)
    with tempfile.TemporaryDirectory() as folder:
        field = _Field(setting, entries, tuned, Path(folder), say)
        try:
            rows = field.measure(turns, only_best)
        finally:
            field.close()
    if field.failed and all(row["contestant"] == OWN for row in rows):
        raise RuntimeError("; ".join(f"{e['label']} failed: {e['error']}" for e in field.failed))
    best_limits = limits(setting.device, {entry.precision for entry in entries})
    for row in rows:
        _summarise(row, setting)
        if row["gflops"] is not None:
            row["matrix_fraction"] = row["gflops"] / best_limits["matrix_gflops"][row["precision"]]
    best.add_ratios(rows)
    return {
        "setting": asdict(setting),
        "only_best": only_best,
        "rows": best.ordered(rows) if only_best else rows,
        "failed": field.failed,
        "tuned": tuned,
        "limits": best_limits,
        **provenance(setting.device),
    }


def _tune(
    setting: Setting, entries: Sequence[Entry], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Returns by precision in which ways this package's convolutions are computed, and how many
    seconds it took to choose them, which count nowhere else.
    """
    found = {}
    own = (entry for entry in entries if entry.contestant == OWN and entry.ways == "tuned")
    for precision in dict.fromkeys(entry.precision for entry in own):
        say(f"tuning in {precision}")
        worker_ = Worker(setting, Entry(OWN, precision))
        try:
            ways, seconds = worker_.call(worker.tune)
        finally:
            worker_.close()
        found[precision] = {"seconds": seconds, "ways": ways}
    return found


class _Field:
    """Holds the entries that still run, and a row for each that ever did."""

    def __init__(
        self,
        setting: Setting,
        entries: list[Entry],
        tuned: Mapping[str, Mapping[str, Any]],
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.setting, self.entries, self.tuned = setting, entries, tuned
        self.folder, self.say = folder, say
        self.rows: list[Row] = []
        self.workers: list[Worker] = []
        self.failed: list[dict[str, str]] = []
        say(f"computing the reference in {TASKS[setting.task].reference}")
        self.reference = _reference(setting, entries, folder)

    def close(self) -> None:
        """Ends all processes."""
        for worker_ in self.workers:
            worker_.close()

    def measure(self, turns: int, only_best: bool) -> list[Row]:
        """Returns the rows, of which some are dropped early where only the best ones count."""
        if only_best:
            for stage in best.stages(self.entries):
                self.try_out(self.add(stage(self.rows)))
                self.drop()
        else:
            self.add(self.entries)
        for number in range(turns):
            for worker_, row in self.running():
                taken, worked = worker_.call(worker.turn)
                row["seconds"].append(taken)
                row["processor"].append(worked)
            self.say(f"turn {number + 1} of {turns}")
            if only_best:
                self.drop()
        for worker_, row in self.running():
            row["peak_bytes"] = worker_.call(worker.peak_bytes)
            row["device_seconds"] = worker_.call(worker.device_seconds)
            if worker_.entry.mode in COMPILED:
                row["graphs"] = worker_.call(worker.graphs)
            if self.setting.task != "inference":
                row["kept_bytes"] = worker_.call(worker.kept_bytes)
        return self.rows

    def add(self, entries: Sequence[Entry]) -> list[tuple[Worker, Row]]:
        """Prepares entries, and returns what was added."""
        first = len(self.workers)
        self.workers += map(self._worker, entries)
        prepare = partial(_prepare, self.setting, self.folder, self.reference, self.say)
        with ThreadPoolExecutor(AT_ONCE.get(torch.device(self.setting.device).type, 1)) as pool:
            found = [pool.submit(prepare, worker_) for worker_ in self.workers[first:]]
        for each in found:
            try:
                self.rows.append(self._prepared(prepare, each))
            except Exception as error:
                worker_ = self.workers.pop(len(self.rows))
                worker_.close()
                entry, text = worker_.entry, f"{type(error).__name__}: {error}".splitlines()[0]
                if entry.contestant == OWN or isinstance(error, DisagreementError):
                    raise
                # Whatever a peer raises, what the others take is worth having.
                self.say(f"{entry.label}, {entry.precision}, failed: {text}")
                failed = {"label": entry.label, "precision": entry.precision, "error": text}
                self.failed.append(failed)
        return list(zip(self.workers[first:], self.rows[first:], strict=True))

    def _prepared(self, prepare: Callable[[Worker], Row], first: Future[Row]) -> Row:
        """Returns the next row; what is too much memory for several at once may do for one."""
        if not isinstance(first.exception(), torch.OutOfMemoryError):
            return first.result()
        number = len(self.rows)
        self.workers[number].close()
        self.workers[number] = self._worker(self.workers[number].entry)
        return prepare(self.workers[number])

    def try_out(self, new: Sequence[tuple[Worker, Row]]) -> None:
        """Gives each a turn that counts only where it gets no other."""
        for worker_, row in new:
            row["trial"], _ = worker_.call(worker.turn)

    def drop(self) -> None:
        """Ends the processes of those that cannot be their contestant's best."""
        for row in best.slow(self.rows):
            if not row["seconds"]:  # something else may have slowed the machine down
                again, _ = self.workers[self.rows.index(row)].call(worker.turn)
                row["trial"] = min(row["trial"], again)
        for row in best.slow(self.rows):
            self.say(f"{row['label']}, {row['precision']}, is slower by far, and dropped")
            row["dropped"] = True
            self.workers[self.rows.index(row)].close()

    def running(self) -> list[tuple[Worker, Row]]:
        """Returns what is not dropped."""
        both = zip(self.workers, self.rows, strict=True)
        return [(worker_, row) for worker_, row in both if not row["dropped"]]

    def _worker(self, entry: Entry) -> Worker:
        tuned = entry.contestant == OWN and entry.ways != "plain"
        ways = self.tuned[entry.precision]["ways"] if tuned else []
        return Worker(self.setting, entry, ways)


def _prepare(
    setting: Setting,
    folder: Path,
    reference: dict[str, torch.Tensor],
    say: Callable[[str], None],
    worker_: Worker,
) -> Row:
    """Warms an entry up, compares what it computes, and returns the beginning of its row."""
    entry = worker_.entry
    say(f"preparing {entry.label}, {entry.precision}")
    row: Row = {"label": entry.label, **asdict(entry), "dropped": False}
    row |= {"seconds": [], "processor": []}
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
    """Returns the largest relative error of the outputs, and of the gradients that both have."""
    found: dict[str, list[float]] = {}
    largest_norm = max(tensor.norm().item() for tensor in reference.values())
    for name in results.keys() & reference.keys():
        kind = "output_error" if name.startswith("output ") else "gradient_error"
        exact = reference[name]
        if exact.norm() <= NOTHING * largest_norm:
            continue  # as the gradient of a bias before softmax, which is rounding alone
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


def _summarise(row: Row, setting: Setting) -> None:
    """Enters median and spread (half of the range between the quartiles, over the median).

    Of what had no further turn the first one stands for them.
    """
    seconds = row["seconds"] or [row["trial"]]
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (median,) * 3
    flops = step_flops(setting, row["contestant"])
    row["median"] = median
    if row["processor"]:
        row["processor_seconds"] = statistics.median(row["processor"])
    row["spread"] = (high - low) / 2 / median
    row["images_per_second"] = setting.batch * len(setting.sizes) / median
    row["gflops"] = None if flops is None else flops / median / 1e9
