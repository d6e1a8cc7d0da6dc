"""Time and memory of this package's network beside its peers', in one run.

python -m benchmarks --task detector --contestants resnext_backbones mmdetection

writes the table as JSON and as a picture. Implementations that are not installed are left out.
"""

import argparse
import os
import shlex
import sys
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import best
from benchmarks.command import DEVICE, console
from benchmarks.contestants import CONTESTANTS
from benchmarks.job import LAYOUTS, MODES, PRECISIONS, TASKS, WAYS, Entry, Setting
from benchmarks.provenance import save
from benchmarks.report import runner_sentence, update_document, write
from benchmarks.run import run
from benchmarks.tables import table
from resnext_backbones.cli import run_tool
from resnext_backbones.commands.arguments import image_size
from resnext_backbones.errors import InputError
from resnext_backbones.variants import list_variants


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.splitlines()[0])
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument(
        "--task", choices=[*TASKS, "data"], default=["detector"], nargs="+", dest="tasks"
    )
    parser.add_argument("--variant", choices=list_variants(), default="resnext101_32x4d")
    parser.add_argument("--contestants", choices=CONTESTANTS, default=list(CONTESTANTS), **several)
    parser.add_argument("--precision", choices=PRECISIONS, default=["float32"], **several)
    parser.add_argument("--layout", choices=LAYOUTS, help="default: own", **several)
    parser.add_argument("--mode", choices=MODES, help="default: eager", **several)
    parser.add_argument("--ways", choices=WAYS, help="default: tuned", **several)
    parser.add_argument(
        "--best",
        action="store_true",
        help="try memory formats, modes and ways that are not given; each contestant's best counts",
    )
    parser.add_argument("--batch", type=int, help="images a step; default: the task's")
    parser.add_argument("--size", type=image_size, nargs="+", help="HEIGHTxWIDTH, one or several")
    parser.add_argument(
        "--smooth", action="store_true", help="SiLU in place of ReLU, to compare gradients"
    )
    parser.add_argument("--turns", type=int, default=5, help="of each; default %(default)s")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--data-root", type=Path, help="of the task data: a folder of JPEGs")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    parser.add_argument(
        "--document",
        action="store_true",
        help="measure nothing; write docs/benchmarks.md from the JSON files in docs/benchmarks",
    )
    return parser.parse_args()


def report_data(args: argparse.Namespace, shown: Console) -> None:
    from benchmarks import data  # MMEngine's, which the other tasks do without

    if args.data_root is None:
        raise InputError("--task data: needs --data-root, a folder of JPEGs")
    cores = len(os.sched_getaffinity(0))
    result = data.measure(args.data_root, cores=cores, turns=args.turns)
    command = "python -m benchmarks --task data --data-root IMAGES"
    result["command"] = f"{command} --turns {args.turns}"
    shown.print(table(result))
    shown.print(runner_sentence(result["runner"]))
    shown.print(save(result, args.out, "data"), soft_wrap=True)


def entries(args: argparse.Namespace, task: str) -> list[Entry]:
    """Returns what is measured of a task."""
    if args.best:
        given = {"layouts": args.layout, "modes": args.mode, "ways": args.ways}
        return best.entries(task, args.contestants, args.precision, **given)
    settings = args.layout or ["own"], args.mode or ["eager"], args.ways or ["tuned"]
    return [Entry(*each) for each in product(args.contestants, args.precision, *settings)]


def main() -> None:
    args = parse_args()
    shown, failed = console(), []
    if args.document:
        shown.print(update_document())
        return
    for task in args.tasks:
        if task == "data":
            report_data(args, shown)
            continue
        usual = TASKS[task]
        sizes = tuple(args.size or [usual.size])
        batch = args.batch or usual.batch
        setting = Setting(task, args.variant, batch, sizes, args.device, args.smooth)
        result = run(
            setting, entries(args, task), turns=args.turns, only_best=args.best, say=shown.log
        )
        result["command"] = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        shown.print(table(result))
        for path in write(result, args.out):
            shown.print(path, soft_wrap=True)
        failed += [f"{task}: {each['label']}, {each['precision']}" for each in result["failed"]]
    if failed:
        raise InputError(f"these failed, and are not among the results: {'; '.join(failed)}")


if __name__ == "__main__":
    run_tool(main)
