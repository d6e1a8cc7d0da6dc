"""Time of `load_weights` beside safetensors' `load_file` and `load_state_dict`.

python -m benchmarks.loading --out docs/benchmarks
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.provenance import provenance, save
from resnext_backbones.build import build_backbone
from resnext_backbones.cli import run_tool
from resnext_backbones.variants import list_variants
from resnext_backbones.weights import load_weights
from resnext_backbones.weights.write import write_state


def measure(variant: str, turns: int) -> dict[str, Any]:
    """Loads one safetensors file into a built trunk in turn, by `load_weights` and without it.

    Args:
        variant: of `list_variants()`.
        turns: of each.

    Returns:
        Seconds of each turn, their medians' ratio, the file's size in bytes, and what it ran on.
    """
    model = build_backbone(variant)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_state(model.state_dict(), path, "safetensors", {})
        ways: dict[str, Callable[[], Any]] = {
            "load_file and load_state_dict": lambda: model.load_state_dict(load_file(path)),
            "load_weights": lambda: load_weights(model, path),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(turns):
            for name, load in ways.items():
                start = time.perf_counter()
                load()
                seconds[name].append(time.perf_counter() - start)
        size = path.stat().st_size
    plain, checked = (statistics.median(values) for values in seconds.values())
    return {
        "variant": variant,
        "bytes": size,
        "seconds": seconds,
        "ratio": checked / plain,
        **provenance("cpu"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.loading", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--variant", choices=list_variants(), default="resnext101_32x4d")
    parser.add_argument("--turns", type=int, default=15, help="of each; default 15")
    parser.add_argument("--out", type=Path, help="a folder for the result as JSON")
    args = parser.parse_args()
    result = measure(args.variant, args.turns)
    for name, seconds in result["seconds"].items():
        print(f"{name}: {1e3 * statistics.median(seconds):.0f} ms")
    print(f"ratio {result['ratio']:.2f}, {result['bytes'] / 1e6:.0f} MB, {result['hardware']}")
    if args.out:
        print(save(result, args.out, "loading"))


if __name__ == "__main__":
    run_tool(main)
