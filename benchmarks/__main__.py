"""Time and memory of this package's network beside its peers', in one run.

python -m benchmarks --task detector --contestants resnext_backbones mmdetection

writes the table as JSON and as a picture. Implementations that are not installed are left out.
"""

import argparse
import json
import os
import re
import shlex
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.contestants import CONTESTANTS
from benchmarks.job import LAYOUTS, MODES, PRECISIONS, TASKS, Entry, Setting
from benchmarks.report import runner_sentence, table, update_document, write
from benchmarks.run import run
from resnext_backbones.cli import run_tool
from resnext_backbones.errors import InputError
from resnext_backbones.variants import list_variants


def size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text}: sizes are HEIGHTxWIDTH, such as 800x1344")
    return int(match[1]), int(match[2])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.splitlines()[0])
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument(
        "--task", choices=[*TASKS, "data"], default=["detector"], nargs="+", dest="tasks"
    )
    parser.add_argument("--variant", choices=list_variants(), default="resnext101_32x4d")
    parser.add_argument("--contestants", choices=CONTESTANTS, default=list(CONTESTANTS), **several)
    parser.add_argument("--precision", choices=PRECISIONS, default=["float32"], **several)
    parser.add_argument("--layout", choices=LAYOUTS, default=["own"], **several)
    parser.add_argument("--mode", choices=MODES, default=["eager"], **several)
    parser.add_argument("--batch", type=int, help="images a step; default: the task's")
    parser.add_argument("--size", type=size, nargs="+", help="HEIGHTxWIDTH, one or several")
    parser.add_argument(
        "--smooth", action="store_true", help="SiLU in place of ReLU, to compare gradients"
    )
    parser.add_argument("--turns", type=int, default=5, help="of each; default %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data-root", type=Path, help="of the task data: a folder of JPEGs")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    parser.add_argument(
        "--document",
        action="store_true",
        help="measure nothing; write docs/benchmarks.md from the JSON files in docs/benchmarks",
    )
    return parser.parse_args()


def report_data(args: argparse.Namespace, console: Console) -> None:
    from benchmarks import data  # MMEngine's, which the other tasks do without

    if args.data_root is None:
        raise InputError("--task data: needs --data-root, a folder of JPEGs")
    cores = len(os.sched_getaffinity(0))
    result = data.measure(args.data_root, cores=cores, turns=args.turns)
    command = "python -m benchmarks --task data --data-root IMAGES"
    result["command"] = f"{command} --turns {args.turns}"
    console.print(table(result))
    console.print(runner_sentence(result["runner"]))
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "data_cpu.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(path, soft_wrap=True)


def main() -> None:
    args = parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    if args.document:
        console.print(update_document())
        return
    for task in args.tasks:
        if task == "data":
            report_data(args, console)
            continue
        usual = TASKS[task]
        sizes = tuple(args.size or [usual.size])
        batch = args.batch or usual.batch
        setting = Setting(task, args.variant, batch, sizes, args.device, args.smooth)
        settings = product(args.contestants, args.precision, args.layout, args.mode)
        entries = [Entry(*values) for values in settings]
        result = run(setting, entries, turns=args.turns, say=console.log)
        result["command"] = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        console.print(table(result))
        for path in write(result, args.out):
            console.print(path, soft_wrap=True)


if __name__ == "__main__":
    run_tool(main)
