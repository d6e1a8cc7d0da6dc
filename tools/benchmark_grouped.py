#!/usr/bin/env python3
"""Measure which grouped convolutions are faster with their groups merged.

python tools/benchmark_grouped.py --out docs/benchmarks/grouped_conv_cpu.json

prints the table that belongs into resnext_backbones/models/grouped.py.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from resnext_backbones.benchmark.grouped import choose, measure, write


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--turns", type=int, default=9, help="of each; default %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the measurements as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    console = Console()
    result = measure(args.device, args.precision, turns=args.turns, say=console.log)
    if args.out:
        write(result, args.out)
    console.print(choose(result))


if __name__ == "__main__":
    main()
