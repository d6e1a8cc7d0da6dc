"""Computes what training costs in hours of 8 GPUs: counted operations over a measured rate.

python -m benchmarks.cost mask_rcnn_x50_32x4d_fpn_lsj_100e_coco

    hours = images seen x operations of an image / (8 x operations a second of a GPU) / 3600

The operations are those of all convolutions and matrix products in a step of `resnext plan`, with
fake tensors and as many regions as the samplers take: an upper bound. The operations a second
are those of the same detector's step on a real GPU, of which docs/benchmarks has the seconds: by
the clock, in which this GPU waited for the processor at 2 images a step, and of its kernels alone,
which is what there is to win by larger batches. The recipes train their norms, so there are no
CUDA graphs. Nothing but these seconds is measured: reading images, synchronising 8 GPUs and the
optimiser are left out.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contestants import OWN
from benchmarks.mask_rcnn import CONFIG
from benchmarks.report import DATA
from resnext_backbones.cli import run_tool
from resnext_backbones.engine.plan.answers import answered
from resnext_backbones.engine.plan.step import Ready, build, fake_tensors, take_step
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.batches import batch_of, pin
from resnext_backbones.tasks.image_sizes import largest_size
from resnext_backbones.tasks.plan import BOXES, read

MEASURED = DATA / "mask_rcnn_resnext101_32x4d_nvidia_h200_batch_2.json"
COCO = 118_000
"""Images with objects in train2017, about: as Detectron2 counts its epochs."""

GPUS = 8
IMAGES = 2
RECIPES = (
    "mask_rcnn_x50_32x4d_fpn_lsj_100e_coco",
    "mask_rcnn_seresnextaa101d_32x8d_fpn_lsj_100e_coco",
)


def operations(
    name: str, images: int, size: tuple[int, int], options: Sequence[str] | None = None
) -> int:
    """Returns those of a training step, two for each multiply-add.

    Args:
        name, options: of a config, as `resnext plan` takes them.
        images, size: of the step, (H, W).
    """
    cfg, _ = read(name, options, None)
    data = batch_of(cfg, images, size, BOXES)
    counted = [0]

    def begin() -> Ready:
        ready = build(cfg)
        pin(ready.model)
        return ready

    def step(ready: Ready) -> None:
        formulas = {torch.ops.aten.convolution_backward: _of_gradients}
        counter = FlopCounterMode(display=False, custom_mapping=formulas)
        take_step(ready, data, amp=None, around=lambda: counter)
        counted[0] = counter.get_total_flops()

    with fake_tensors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fake tensors have no address
        ready = answered(begin)
        answered(lambda: step(ready))
    return counted[0]


def _of_gradients(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Returns the operations of a convolution's gradients. PyTorch's own formula takes the groups
    of a weight's gradient for one.
    """
    is_transposed, wanted = rest[4], rest[-1]
    products: int = prod(x if is_transposed else gradient) * prod(weight[1:])
    return 2 * products * sum(wanted[:2])


def rates() -> dict[str, float]:
    """Returns the operations a second of a GPU in the measured step, by the clock and of kernels
    alone.
    """
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    setting, rows = measured["setting"], measured["rows"]
    settings = {"contestant": OWN, "precision": "bfloat16", "mode": "eager"}
    (row,) = (row for row in rows if settings.items() <= row.items())
    ((height, width),) = setting["sizes"]
    number = operations(CONFIG, setting["batch"], (height, width))
    return {
        "by the clock": number / row["median"],
        "kernels alone": number / row["device_seconds"],
    }


def hours_of(seen: int, operations: float, rate: float) -> float:
    """Returns the hours in which 8 GPUs of a rate see so many images, of operations each."""
    return seen * operations / (GPUS * rate) / 3600


def row_of(name: str, options: Sequence[str] | None, by: dict[str, float]) -> dict[str, Any]:
    """Returns the cost of a config of MMDetection, of COCO's images."""
    cfg, _ = read(name, options, None)
    size, epochs = largest_size(cfg), cfg.train_cfg.get("max_epochs")
    if not size or not epochs or "train2017" not in str(cfg.train_dataloader.dataset):
        raise InputError(f"config {name}: trains no detector on COCO by epochs, as counted here")
    each = operations(name, IMAGES, size, options) / IMAGES
    seen = COCO * epochs
    hours = {kind: hours_of(seen, each, rate) for kind, rate in by.items()}
    return {"config": name, "size": size, "operations": each, "seen": seen, "hours": hours}


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("configs", nargs="*", default=RECIPES)
    parser.add_argument("--cfg-options", nargs="+", help="of all of these configs")
    args = parser.parse_args()
    by = rates()
    table = Table("config", "TFLOP an image", *(f"hours, {kind}" for kind in by))
    for name in args.configs:
        row = row_of(name, args.cfg_options, by)
        table.add_row(
            name, f"{row['operations'] / 1e12:.2f}", *(f"{h:.0f}" for h in row["hours"].values())
        )
    console = Console(width=140)
    console.print(", ".join(f"{rate / 1e12:.1f} TFLOP/s {kind}" for kind, rate in by.items()))
    console.print(table)


if __name__ == "__main__":
    run_tool(main)
