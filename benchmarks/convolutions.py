"""Measure which convolutions are faster in another way than PyTorch's plain call.

python -m benchmarks.convolutions --kind grouped pointwise --out docs/benchmarks

prints the tables that belong into resnext_backbones/compute/grouped.py and pointwise.py.
"""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.report import CONVOLUTIONS
from resnext_backbones.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", nargs="+", choices=CONVOLUTIONS, default=list(CONVOLUTIONS))
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--turns", type=int, default=9, help="of each; default %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    console = Console()
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in args.kind:
        module = CONVOLUTIONS[kind]
        result = module.measure(args.device, args.precision, turns=args.turns, say=console.log)
        path = args.out / f"{kind}_conv_{args.device.split(':')[0]}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        console.print(path, soft_wrap=True)
        console.print(module.choose(result))


if __name__ == "__main__":
    run_tool(main)
