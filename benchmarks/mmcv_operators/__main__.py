"""mmcv's operators on torchvision's beside the compiled ones, as data in docs/benchmarks.

python -m benchmarks.mmcv_operators operators             each alone, by random inputs
python -m benchmarks.mmcv_operators configs               the shipped configs with a ResNeXt
python -m benchmarks.mmcv_operators time                  a training step, in turns
python -m benchmarks.mmcv_operators tests MMCV_CHECKOUT   mmcv's own tests, with none compiled

The first three need an environment in which mmcv has compiled operators; the last one that has
none. Exit status 1 means that a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.mmcv_operators import detectors, mmcv_tests, operators, timing
from benchmarks.provenance import provenance
from resnext_backbones.cli import run_tool
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text

Result = tuple[dict[str, Any], bool]
"""Data, and whether all bounds hold."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mmcv_operators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="a folder")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("operators")
    configs = kinds.add_parser("configs")
    configs.add_argument("--only", default="", metavar="TEXT", help="in the config's name")
    time = kinds.add_parser("time")
    time.add_argument("--turns", type=int, default=10)
    time.add_argument("--threads", type=int, default=2)
    tests = kinds.add_parser("tests")
    tests.add_argument("checkout", type=Path)
    return parser.parse_args()


def compare_operators(_: argparse.Namespace) -> Result:
    rows = collect(operators.measure(), operators.within_bounds)
    data = {"bound": operators.BOUND, "seeds": len(operators.SEEDS), "cases": rows}
    return data, all(map(operators.within_bounds, rows.values()))


def compare_configs(args: argparse.Namespace) -> Result:
    from benchmarks.mmcv_operators.configs import shipped

    models = {name: model for name, model in shipped().items() if args.only in name}
    if not models:
        raise InputError(f"--only {args.only}: no config with a ResNeXt has this in its name")
    rows = collect(detectors.measure(models), detectors.within_bounds)
    data = {"bounds": detectors.BOUNDS, "seed": detectors.SEED, "configs": rows}
    return data, all(map(detectors.within_bounds, rows.values()))


def compare_time(args: argparse.Namespace) -> Result:
    data = timing.measure(args.turns, args.threads)
    print(f"medians {data['medians']}, ratio {data['ratio']:.3f}")
    return data, data["ratio"] <= timing.BOUND


def run_tests(args: argparse.Namespace) -> Result:
    data = mmcv_tests.measure(args.checkout)
    for name, found in data.items():
        print(f"{name}: {found['passed']} passed, {len(found['skipped'])} skipped")
        for test, message in found["failed"].items():
            print(f"  {test}: {message}")
    return data, not any(found["failed"] for found in data.values())


def collect(
    rows: Iterable[tuple[str, dict[str, Any]]], holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Returns the rows, which are printed as they come."""
    found = {}
    for name, row in rows:
        found[name] = row
        print(f"{'' if holds(row) else 'BEYOND ITS BOUND '}{name}: {row}", flush=True)
    return found


KINDS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "operators": compare_operators,
    "configs": compare_configs,
    "time": compare_time,
    "tests": run_tests,
}


def main() -> None:
    args = parse_args()
    data, holds = KINDS[args.kind](args)
    words = [*sys.argv[1:-1], "MMCV_CHECKOUT"] if args.kind == "tests" else sys.argv[1:]
    command = shlex.join(["python", "-m", "benchmarks.mmcv_operators", *words])
    data = {"command": command, **provenance("cpu"), **data}
    path = args.out / f"mmcv_{args.kind}.json"
    atomic_write_text(path, json.dumps(data, indent=1) + "\n")
    print(path)
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    run_tool(main)
