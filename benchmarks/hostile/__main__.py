"""Damaged and hostile files, dealt out over the doors: nothing runs, hangs or takes memory.

python -m benchmarks.hostile --files 10000

Each file comes from a seed, and is read in a child process that may take a gigabyte more than what
it began with. A file ends in one message of this package's errors, or loads whole.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks.hostile.run import run
from resnext_backbones.cli import run_tool
from resnext_backbones.io import atomic_write_text


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first file")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    args = parser.parse_args()
    console = Console()
    result = run(args.files, args.first, console.log)
    result["command"] = f"python -m benchmarks.hostile --files {args.files} --first {args.first}"
    path = args.out / "hostile_files.json"
    atomic_write_text(path, json.dumps(result, indent=1) + "\n")
    console.print_json(data=result)
    console.print(path, soft_wrap=True)


if __name__ == "__main__":
    run_tool(main)
