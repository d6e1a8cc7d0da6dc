"""Memory and time of the family's networks beside timm's, as a detector trains them.

python -m benchmarks.family --out docs/benchmarks

timm's has both memory formats, and the better one counts.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.job import Entry, Setting
from benchmarks.provenance import file_name, provenance
from benchmarks.report import image_size, table
from benchmarks.run import run
from resnext_backbones.cli import run_tool
from resnext_backbones.variants import VARIANTS

PEER = "timm"

ENTRIES = Entry(OWN), Entry(PEER), Entry(PEER, layout="channels_last")

TAKEN = "median", "kept_bytes", "peak_bytes"
"""The least of timm's counts of each of these."""

ERRORS = "output_error", "gradient_error"


def names() -> list[str]:
    """Returns the variants with a part that a plain network lacks, and one that has none."""
    return ["resnext50_32x4d", *(name for name in VARIANTS if is_special(name))]


def is_special(name: str) -> bool:
    """Tells whether timm has a network, and torchvision none of its kind."""
    peers = CONTESTANTS[PEER], CONTESTANTS["torchvision"]
    known, plain = (peer.builds(name) for peer in peers)
    return known and not plain and VARIANTS[name].stem != "3x3"


def measure(
    variants: Sequence[str],
    size: tuple[int, int],
    *,
    turns: int,
    device: str,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Returns a row for each variant: seconds of a step, and bytes, of this package and of timm.

    Args:
        variants: of `list_variants()`.
        size: of an image, in pixels; attention of BAT needs multiples of 256 in timm.
        turns: of each, after one that warms up.
        device: as PyTorch names it.
        say: is told what is going on.
    """
    rows = []
    for variant in variants:
        say(variant)
        setting = Setting("detector", variant, 1, (size,), device)
        own, *theirs = run(setting, ENTRIES, turns=turns, say=lambda _: None)["rows"]
        row: dict[str, Any] = {"variant": variant, **{key: own[key] for key in (*TAKEN, *ERRORS)}}
        for key in TAKEN:
            row[f"timm_{key}"] = min(each[key] for each in theirs)
            row[f"{key}_ratio"] = row[key] / row[f"timm_{key}"]
        rows.append(row)
    return {"family": {"size": size, "turns": turns}, "rows": rows, **provenance(device)}


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.family", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=names())
    parser.add_argument("--size", type=image_size, default=(512, 512), help="HEIGHTxWIDTH")
    parser.add_argument("--turns", type=int, default=5, help="of each; default %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    args = parser.parse_args()
    console = Console()
    console = console if console.is_terminal else Console(width=220)
    result = measure(
        args.variants, args.size, turns=args.turns, device=args.device, say=console.log
    )
    result["command"] = shlex.join(["python", "-m", "benchmarks.family", *sys.argv[1:]])
    console.print(table(result))
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"family_{file_name(result['hardware'])}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(path, soft_wrap=True)


if __name__ == "__main__":
    run_tool(main)
