"""All that is measured on a GPU, in parts that can be run alone and taken up again.

python -m benchmarks.gpu --out docs/benchmarks

takes some twenty minutes on a machine without a network, the most important parts first. A part
whose result lies in the folder already is left out; `--minutes` ends before a part that has no room
left, and the same command goes on. COCO_ROOT names a COCO tree, a small one will do.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

import resnext_backbones
from benchmarks.provenance import file_name, hardware
from resnext_backbones.cli import run_tool
from resnext_backbones.engine.provenance import commit
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text

ASKED = 40
"""Seconds in which a stopped part may end what it has started: torchrun, whose processes are in no
group of its own, gives them 30."""

PEERS = "--contestants resnext_backbones mmdetection timm torchvision detectron2 resnet"
FEW = "--contestants resnext_backbones mmdetection torchvision"
CLASSIFIERS = "--contestants resnext_backbones timm torchvision resnet"
BOTH = "--layout own channels_last"
BFLOAT16 = "--precision bfloat16"
HALF = "--precision bfloat16 float16"
TASK = "-m benchmarks --task"
TRAINED = "-m torch.distributed.run --standalone --nproc_per_node {processes} tools/train.py"
SHORT = (
    "train_cfg.max_epochs=1 train_dataloader.dataset.indices=40 val_dataloader.dataset.indices=8"
)


@dataclass(frozen=True)
class Part:
    """Says what a command needs, and what it leaves behind.

    Attributes:
        command: arguments of Python; `{out}` is the folder for results, `{scratch}` one that is
            thrown away.
        result: the name of the file that it writes, with the hardware in it; without one a file of
            its own name says of which commit it passed; of another it is run again.
        minutes: that it takes at most.
        gpus: that it needs.
        coco: it reads a COCO tree, which the environment's COCO_ROOT names.
    """

    command: str
    result: str | None
    minutes: float
    gpus: int = 0
    coco: bool = False


def _measured(command: str) -> str:
    return f"{command} --device {{device}} --out {{out}}"


def _training(processes: int, flags: str, options: str) -> Part:
    """Returns a part that trains a few steps by the tool, on as many GPUs."""
    tool = f"{TRAINED.format(processes=processes)} configs/mask_rcnn_x101_32x4d_fpn_coco.py"
    settings = f"--work-dir {{scratch}} --cfg-options {SHORT} {options}"
    command = f"{tool} --no-tune --amp bf16 {flags} {settings}"
    return Part(command, None, 3, gpus=processes, coco=True)


PARTS = {
    "equality": Part(
        "-m pytest -q --maxfail 20 tests/compute/test_graphs.py tests/compute/test_passes.py"
        " tests/compute/test_conv_norm.py",
        None,
        3,
    ),
    "detector": Part(
        _measured(f"{TASK} detector --batch 2 {BFLOAT16} {BOTH} --mode eager captured {PEERS}"),
        "detector_resnext101_32x4d_{hardware}_batch_2.json",
        4,
    ),
    "mask_rcnn": Part(
        _measured(f"{TASK} mask_rcnn --batch 2 {HALF} --mode eager captured"),
        "mask_rcnn_resnext101_32x4d_{hardware}_batch_2.json",
        3,
    ),
    "recompute": Part(
        _measured(f"{TASK} detector --batch 2 {BFLOAT16} --mode eager inner block pair {FEW}"),
        "detector_resnext101_32x4d_{hardware}_batch_2_recompute.json",
        2,
    ),
    "grouped convolutions": Part(
        _measured("-m benchmarks.grouped"), "grouped_resnext101_32x4d_{hardware}.json", 1
    ),
    "classification": Part(
        _measured(
            f"{TASK} classification --variant resnext50_32x4d --batch 256 {BFLOAT16}"
            f" --layout channels_last --mode eager compiled {CLASSIFIERS}"
        ),
        "classification_resnext50_32x4d_{hardware}_batch_256.json",
        3,
    ),
    "classification, 101 layers": Part(
        _measured(
            f"{TASK} classification --batch 128 {BFLOAT16} --layout channels_last {CLASSIFIERS}"
        ),
        "classification_resnext101_32x4d_{hardware}_batch_128.json",
        2,
    ),
    "plan": Part(
        "-m benchmarks.plan --device {device} --out {out}", "plan_{hardware}.json", 3, gpus=1
    ),
    "training": Part(
        "-m benchmarks.training mask_rcnn_x101_32x4d_fpn_coco --steps 200 --epochs 5"
        " --amp bf16 --cuda-graphs --out {out}",
        "training_mask_rcnn_x101_32x4d_fpn_coco_{hardware}.json",
        3.5,
        gpus=1,
        coco=True,
    ),
    "SyncBN in bf16": _training(
        1,
        "--weights none",
        "model.backbone.norm_cfg.type=SyncBN model.backbone.norm_eval=False",
    ),
    "two ranks": _training(2, "--cuda-graphs", "model.backbone.init_cfg=None"),
    "detector, compiled": Part(
        _measured(f"{TASK} detector --batch 4 {BFLOAT16} --mode eager captured compiled {PEERS}"),
        "detector_resnext101_32x4d_{hardware}_batch_4.json",
        4,
    ),
    "detector, as graphs": Part(
        _measured(f"{TASK} detector --batch 2 {BFLOAT16} --mode captured graphs {FEW} detectron2"),
        "detector_resnext101_32x4d_{hardware}_batch_2_captured_graphs.json",
        3,
    ),
    "detector, 8 images": Part(
        _measured(f"{TASK} detector --batch 8 {BFLOAT16} --mode eager captured {FEW}"),
        "detector_resnext101_32x4d_{hardware}_batch_8.json",
        2,
    ),
    "inference": Part(
        _measured(
            f"{TASK} inference {BFLOAT16} --layout channels_last"
            f" --mode eager captured frozen fused fused+frozen {FEW}"
        ),
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
    end, here = time.monotonic() + 60 * minutes, file_name(hardware(device))
    ended, code = {}, commit(Path(resnext_backbones.__file__).parent)
    for name, part in parts.items():
        left = end - time.monotonic()
        passed = f"{name.replace(' ', '_')}_{{hardware}}.passed"
        there = out / (part.result or passed).format(hardware=here)
        if there.exists() and (part.result or there.read_text(encoding="utf-8") == code):
            ended[name] = f"is there: {there}"
        elif missing := _missing(part):
            ended[name] = f"left out: {missing}"
        elif left < 60 * part.minutes:
            ended[name] = f"not begun: {left:.0f} s are left, and it takes {part.minutes} min"
        else:
            ended[name] = _run(part, out, device)
            if part.result is None and ended[name].startswith("done"):
                atomic_write_text(there, code)
        print(f"{name}: {ended[name]}", flush=True)
    return ended


def _missing(part: Part) -> str:
    """Returns what a part needs and this machine has not; "" where it has all."""
    count = torch.cuda.device_count()
    if count < part.gpus:
        return f"needs {part.gpus} GPUs, and {count} are there"
    if part.coco and not os.environ.get("COCO_ROOT"):
        return "needs COCO_ROOT, a COCO tree such as 80 images with their annotations"
    return ""


def _run(part: Part, out: Path, device: str) -> str:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        words = part.command.split()
        command = [w.format(out=out, device=device, scratch=scratch) for w in words]
        process = subprocess.Popen([sys.executable, *command], start_new_session=True)
        try:
            status = process.wait(60 * part.minutes)
        except subprocess.TimeoutExpired:
            return f"stopped after {part.minutes} min"
        finally:
            _end(process)
    took = time.monotonic() - started
    return f"{'done' if status == 0 else f'failed ({status})'} in {took:.0f} s"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what a part has started, which would take the GPU's time and memory from the next."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ASKED)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    args = parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU; --device cpu measures on this one")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of `_end`
    chosen = {name: PARTS[name] for name in args.parts}
    ended = run_parts(chosen, args.out, device=args.device, minutes=args.minutes)
    failed = [
        name for name, how in ended.items() if not how.startswith(("done", "is there", "left out"))
    ]
    if failed:
        raise InputError(f"these parts are owed: {', '.join(failed)}; the same command goes on")


if __name__ == "__main__":
    run_tool(main)
