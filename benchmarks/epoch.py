"""An epoch of training on real images, of all sizes, by each backbone in its settings.

python -m benchmarks.epoch mask_rcnn_x101_32x4d_fpn_coco --data-root COCO --scale 320x512

The runs start from the same weights, see the same images in the same order, and take turns step by
step. Nothing is evaluated.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from mmengine.hooks import Hook

from benchmarks import best
from benchmarks.clock import seconds
from benchmarks.command import DEVICE, finish, parser_of
from benchmarks.contestants import OWN
from benchmarks.job import LAYOUTS, PRECISIONS, Entry
from benchmarks.memory import peak_bytes
from benchmarks.provenance import provenance
from benchmarks.training import runner_from, train_alone
from benchmarks.turns import Turns, in_turn
from resnext_backbones.cli import run_tool
from resnext_backbones.commands.arguments import image_size
from resnext_backbones.compute.tuning import tune
from resnext_backbones.compute.ways import use
from resnext_backbones.tasks.mmdetection.config import load_config

SETTINGS: tuple[dict[str, str], ...] = (
    {"contestant": OWN},
    {"contestant": OWN, "ways": "plain"},
    {"contestant": "mmdetection"},
    {"contestant": "mmdetection", "layout": "channels_last"},
)
"""Each backbone, in the settings that its users would try."""

WRAPPERS = {
    "float32": {},
    "bfloat16": {"type": "resnext_backbones.Bfloat16OptimWrapper"},
    "float16": {"type": "AmpOptimWrapper", "loss_scale": "dynamic"},
}
"""MMEngine calls the optimiser of each precision so."""


class StepsHook(Hook):
    """Takes a turn for each step, and keeps its seconds and its loss."""

    priority = "VERY_LOW"

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.loss: list[float] = []

    def before_train(self, runner: Any) -> None:  # noqa: ARG002
        """Lets boxes be sampled alike in all runs."""
        torch.manual_seed(0)

    def before_train_iter(self, *_: Any, **__: Any) -> None:
        """Waits for the turn, and starts the clock."""
        self.turns.begin()
        self._start = time.perf_counter(), time.process_time()

    def after_train_iter(self, *_: Any, outputs: Any = None, **__: Any) -> None:
        """Notes the step; reading the loss waits for the device."""
        self.loss.append(float(outputs["loss"].detach()))
        start, worked_before = self._start
        self.seconds.append(time.perf_counter() - start)
        self.processor.append(time.process_time() - worked_before)
        self.turns.end()


def measure(
    config: str,
    data_root: Path,
    *,
    precision: str = "float32",
    scale: tuple[int, int] = (800, 1333),
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the seconds and the losses of an epoch's steps, of each setting.

    Args:
        config: of MMDetection with this package's backbone, a path or a name.
        data_root: COCO's, with annotations/ and train2017/.
        precision: of `WRAPPERS`.
        scale: height and width that no resized image exceeds; its proportions stay.
        options: further settings of the config.
    """
    entries = [Entry(precision=precision, **setting) for setting in SETTINGS]
    with tempfile.TemporaryDirectory() as folder:
        work = config, data_root, scale, list(options), Path(folder)
        rows = in_turn(_train, [(entry, *work) for entry in entries])
    for row in rows:
        row["median"] = sum(row["steps"])
        row["seconds"] = [row["median"]]
        row["step_seconds"] = statistics.median(row["steps"])
    best.add_ratios(rows)
    steps = len(rows[0]["steps"])
    return {
        "epoch": {"config": Path(config).stem, "scale": scale, "steps": steps},
        "rows": best.ordered(rows),
        **provenance(DEVICE),
    }


def _train(
    turns: Turns,
    entry: Entry,
    config: str,
    data_root: Path,
    scale: tuple[int, int],
    options: list[str],
    folder: Path,
) -> best.Row:
    """Runs one of the trainings; the first one leaves its initial weights for the others."""
    os.environ["COCO_ROOT"] = str(data_root)
    turns.begin()
    cfg = _config(entry, config, scale, options, folder / entry.label)
    runner = runner_from(cfg, folder / "initial.pth")
    layout = LAYOUTS[entry.layout]
    if layout is not None:
        runner.model.to(memory_format=layout)
    tuning = _tune(runner.model.backbone, entry, scale, cfg.train_dataloader.batch_size, folder)
    hook = StepsHook(turns)
    runner.register_hook(hook)
    turns.end()
    runner.train()
    device = next(runner.model.parameters()).device
    return {
        "label": entry.label,
        **vars(entry),
        "dropped": False,
        "steps": hook.seconds,
        "processor_seconds": sum(hook.processor),
        "loss": hook.loss,
        "tuning_seconds": tuning,
        "peak_bytes": peak_bytes(device),
    }


def _config(
    entry: Entry, config: str, scale: tuple[int, int], options: list[str], work_dir: Path
) -> Any:
    cfg = load_config(config, options, work_dir=str(work_dir))
    train_alone(cfg, seed=0, epochs=1, own=entry.contestant == OWN)
    cfg.log_level = "WARNING"
    cfg.optim_wrapper.update(WRAPPERS[entry.precision])
    for step in cfg.train_dataloader.dataset.pipeline:
        if step["type"] == "Resize":
            step["scale"] = scale[::-1]
    return cfg


def _tune(
    trunk: Any, entry: Entry, scale: tuple[int, int], batch: int, folder: Path
) -> float | None:
    """Chooses ways for the largest images, as a run does before its first step; it returns the
    seconds that this took.
    """
    device = next(trunk.parameters()).device
    use(device.type, {})  # and not what this user had chosen before
    if entry.contestant != OWN or entry.ways == "plain":
        return None
    os.environ["TORCH_HOME"] = str(folder)
    height, width = (-(-side // 32) * 32 for side in scale)  # detectors pad to multiples of 32
    trunk.train()
    shape, dtype = (batch, 3, height, width), PRECISIONS[entry.precision]
    return seconds(lambda: tune(trunk, shape, dtype=dtype), str(device))


def parse_args() -> argparse.Namespace:
    parser = parser_of("epoch", __doc__)
    parser.add_argument("config", help="a path, or the name of a config of this package")
    parser.add_argument("--data-root", type=Path, required=True, help="COCO's folder")
    parser.add_argument("--precision", choices=WRAPPERS, default="float32")
    parser.add_argument(
        "--scale", type=image_size, default=(800, 1333), help="HEIGHTxWIDTH that no image exceeds"
    )
    parser.add_argument("--cfg-options", nargs="+", default=[], help="settings of the config")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    result = measure(
        args.config,
        args.data_root,
        precision=args.precision,
        scale=args.scale,
        options=args.cfg_options,
    )
    name = f"epoch_{Path(args.config).stem}_{args.precision}"
    finish("epoch", result, args.out, name, hidden=str(args.data_root))


if __name__ == "__main__":
    run_tool(main)
