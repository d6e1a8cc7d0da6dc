"""Measures what tuning gains: tuned and plain steps follow one another in one process.

python -m benchmarks.ways --out docs/benchmarks

Two processes that run the same code differ by a few percent, by where their memory lies; here both
kinds of step use the same weights, images and memory, and follow one another.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.command import DEVICE, console, finish, parser_of
from benchmarks.contestants import OWN
from benchmarks.job import PRECISIONS, TASKS, Entry, Setting
from benchmarks.provenance import provenance
from benchmarks.worker import Worker, tune, turns_of_ways
from resnext_backbones.cli import run_tool
from resnext_backbones.compute.calls import PLAIN
from resnext_backbones.compute.tables import UNKNOWN

VARIANT = "resnext101_32x4d"

SMALL = 480, 800

STEPS = (("classification", None), ("detector", SMALL), ("detector", None), ("inference", None))
"""Tasks, and the sizes of their images; None is the task's own."""


def settings(device: str) -> Iterator[Setting]:
    """Yields what is measured, in each precision."""
    for task, size in STEPS:
        usual = TASKS[task]
        yield Setting(task, VARIANT, usual.batch, (size or usual.size,), device)


def measure(setting: Setting, precision: str, turns: int) -> dict[str, Any]:
    """Returns a row: the median of the ratios of neighbouring steps, and half of the range between
    their quartiles.
    """
    worker = Worker(setting, Entry(OWN, precision))
    try:
        ways, tuning_seconds = worker.call(tune)
        pairs = worker.call(turns_of_ways, ways, turns)
    finally:
        worker.close()
    low, ratio, high = statistics.quantiles([tuned / plain for tuned, plain in pairs], n=4)
    tuned, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    (size,) = setting.sizes
    return {
        "task": setting.task,
        "batch": setting.batch,
        "size": size,
        "precision": precision,
        "seconds": pairs,
        "tuned": tuned,
        "plain": plain,
        "ratio": ratio,
        "spread": (high - low) / 2,
        "tuning_seconds": tuning_seconds,
        "chosen": sum(way not in (PLAIN, UNKNOWN) for row in ways for way in row["ways"].values()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of("ways", __doc__)
    parser.add_argument(
        "--precision", choices=PRECISIONS, nargs="+", default=["float32", "bfloat16"]
    )
    parser.add_argument("--turns", type=int, default=12, help="of each; default %(default)s")
    parser.add_argument("--device", default=DEVICE)
    args = parser.parse_args(arguments)
    say = console().log
    rows = []
    for setting in settings(args.device):
        for precision in args.precision:
            rows.append(measure(setting, precision, args.turns))
            say(f"{setting.task}, {precision}: {rows[-1]['ratio']:.3f}")
    result: dict[str, Any] = {"ways": {"variant": VARIANT, "turns": args.turns}, "rows": rows}
    result |= provenance(args.device)
    finish("ways", result, args.out, "ways")


if __name__ == "__main__":
    run_tool(main)
