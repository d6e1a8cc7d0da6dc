#!/usr/bin/env python3
"""Measure `load_weights` beside safetensors' `load_file` and `load_state_dict`.

python tools/benchmark_loading.py --out docs/benchmarks
"""

import argparse
import json
import statistics
from pathlib import Path

from resnext_backbones.benchmark.loading import measure
from resnext_backbones.runs.cli import run_tool
from resnext_backbones.variants import list_variants


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what checking weights costs.")
    parser.add_argument("--variant", choices=list_variants(), default="resnext101_32x4d")
    parser.add_argument("--turns", type=int, default=15, help="of each; default 15")
    parser.add_argument("--out", type=Path, help="a folder for the result as JSON")
    args = parser.parse_args()
    result = measure(args.variant, args.turns)
    for name, seconds in result["seconds"].items():
        print(f"{name}: {1e3 * statistics.median(seconds):.0f} ms")
    print(f"ratio {result['ratio']:.2f}, {result['bytes'] / 1e6:.0f} MB, {result['hardware']}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / "loading_cpu.json"
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    run_tool(main)
