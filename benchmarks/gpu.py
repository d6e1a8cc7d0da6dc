"""All that is measured on a GPU, in parts that can be run alone and taken up again.

python -m benchmarks.gpu --out docs/benchmarks

takes some ten minutes on a machine without a network. A part whose result lies in the folder
already is left out; `--minutes` ends before a part that has no room left.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.provenance import file_name, hardware
from resnext_backbones.cli import run_tool
from resnext_backbones.errors import InputError

PEERS = "--contestants resnext_backbones mmdetection timm torchvision detectron2"
FEW = "--contestants resnext_backbones mmdetection torchvision"
CLASSIFIERS = "--contestants resnext_backbones timm torchvision resnet"
BOTH = "--layout own channels_last"
BFLOAT16 = "--precision bfloat16"
TASK = "-m benchmarks --task"


@dataclass(frozen=True)
class Part:
    """A command, and what it leaves behind.

    Attributes:
        command: arguments of Python.
        result: the name of the file that it writes, with the hardware in it; without one it is run
            each time.
        minutes: that it takes at most.
    """

    command: str
    result: str | None
    minutes: float


PARTS = {
    "equality": Part("-m pytest -q --maxfail 20 tests/compute tests/models", None, 4),
    "detector": Part(
        f"{TASK} detector --batch 2 {BFLOAT16} {BOTH} {PEERS} resnet",
        "detector_resnext101_32x4d_{hardware}_batch_2.json",
        3,
    ),
    "detector, compiled": Part(
        f"{TASK} detector --batch 4 {BFLOAT16} --mode eager compiled {PEERS}",
        "detector_resnext101_32x4d_{hardware}_batch_4.json",
        4,
    ),
    "detector, as graphs": Part(
        f"{TASK} detector --batch 2 {BFLOAT16} --mode graphs {FEW} detectron2",
        "detector_resnext101_32x4d_{hardware}_batch_2_graphs.json",
        3,
    ),
    "detector, 8 images": Part(
        f"{TASK} detector --batch 8 {BFLOAT16} {BOTH} {FEW}",
        "detector_resnext101_32x4d_{hardware}_batch_8.json",
        3,
    ),
    "mask_rcnn": Part(
        f"{TASK} mask_rcnn --batch 2 {BFLOAT16}",
        "mask_rcnn_resnext101_32x4d_{hardware}_batch_2.json",
        2,
    ),
    "classification": Part(
        f"{TASK} classification --variant resnext50_32x4d --batch 256 {BFLOAT16}"
        f" --layout channels_last --mode eager compiled {CLASSIFIERS}",
        "classification_resnext50_32x4d_{hardware}_batch_256.json",
        3,
    ),
    "classification, 101 layers": Part(
        f"{TASK} classification --batch 128 {BFLOAT16} {BOTH} {CLASSIFIERS}",
        "classification_resnext101_32x4d_{hardware}_batch_128.json",
        3,
    ),
    "inference": Part(
        f"{TASK} inference {BFLOAT16} --layout channels_last"
        f" --mode eager frozen fused fused+frozen {FEW}",
        "inference_resnext101_32x4d_{hardware}.json",
        3,
    ),
}
"""In the order in which they are run."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=60.0, help="for all; default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark"))
    return parser.parse_args()


def run_parts(parts: dict[str, Part], out: Path, *, device: str, minutes: float) -> dict[str, str]:
    """Runs parts one after the other, and returns how each ended.

    Args:
        parts: by name.
        out: where results are written, and where those of before lie.
        device: as PyTorch names it.
        minutes: a part that could take longer than what is left is not begun.
    """
    end = time.monotonic() + 60 * minutes
    ended = {}
    for name, part in parts.items():
        left = end - time.monotonic()
        there = part.result and out / part.result.format(hardware=file_name(hardware(device)))
        if there and there.exists():
            ended[name] = f"is there: {there}"
        elif left < 60 * part.minutes:
            ended[name] = f"not begun: {left:.0f} s are left, and it takes {part.minutes} min"
        else:
            ended[name] = _run(part, out, device)
        print(f"{name}: {ended[name]}", flush=True)
    return ended


def _run(part: Part, out: Path, device: str) -> str:
    command = [sys.executable, *part.command.split()]
    if part.result is not None:
        command += ["--device", device, "--out", str(out)]
    started = time.monotonic()
    try:
        done = subprocess.run(command, check=False, timeout=60 * part.minutes)
    except subprocess.TimeoutExpired:
        return f"stopped after {part.minutes} min"
    took = time.monotonic() - started
    return f"{'done' if done.returncode == 0 else f'failed ({done.returncode})'} in {took:.0f} s"


def main() -> None:
    args = parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU; --device cpu measures on this one")
    chosen = {name: PARTS[name] for name in args.parts}
    ended = run_parts(chosen, args.out, device=args.device, minutes=args.minutes)
    failed = [name for name, how in ended.items() if not how.startswith(("done", "is there"))]
    if failed:
        raise InputError(f"these parts are owed: {', '.join(failed)}; the same command goes on")


if __name__ == "__main__":
    run_tool(main)
