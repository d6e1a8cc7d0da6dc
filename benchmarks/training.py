"""The same training with this backbone and with MMDetection's: losses and time, step by step.

COCO_ROOT=data/coco python -m benchmarks.training configs/mask_rcnn_x101_32x4d_fpn_coco.py \\
    --steps 200 --epochs 5 --cuda-graphs --out docs/benchmarks
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from benchmarks.command import DEVICE, finish, parser_of
from benchmarks.memory import peak_bytes
from benchmarks.provenance import provenance
from resnext_backbones.cli import run_tool
from resnext_backbones.engine import runner as _registers  # noqa: F401
from resnext_backbones.engine.config import for_training
from resnext_backbones.tasks.mmdetection.checks import check_data
from resnext_backbones.tasks.mmdetection.config import backbone_of, load_config
from resnext_backbones.variants import VARIANTS

OWN, GRAPHS, PEER = "resnext_backbones", "resnext_backbones, cuda_graphs", "mmdetection"

AT_AN_END = 20
"""The loss is averaged over so many steps at the beginning and at the end."""


class RecordHook(Hook):
    """Keeps loss and seconds of every step, and seeds the samplers alike in both runs.

    Building the two networks draws different numbers from PyTorch's generator, which the samplers
    of the RPN and of the heads draw from as well.
    """

    priority = "VERY_LOW"

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loss: list[float] = []
        self.time: list[float] = []

    def before_train(self, runner: Any) -> None:  # noqa: ARG002
        """Seeds the generator, and starts the clock."""
        torch.manual_seed(self.seed)
        self._last = time.perf_counter()

    def after_train_iter(
        self,
        runner: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,  # noqa: ARG002
        outputs: Any = None,
    ) -> None:
        """Notes the step; reading the loss waits for the device."""
        self.loss.append(float(outputs["loss"].detach()))
        now = time.perf_counter()
        self.time.append(now - self._last)
        self._last = now


def compare_training(
    config: str,
    work_dir: Path,
    *,
    steps: int = 20,
    epochs: int = 1,
    seed: int = 0,
    unfolded: bool = False,
    graphs: bool = False,
    amp: str | None = None,
    options: list[str] | None = None,
) -> dict[str, Any]:
    """Trains a config from the same weights with this backbone, then with MMDetection's.

    Args:
        config: of this package, a path or a name.
        work_dir: for both runs' logs and their common initial weights; it must not exist.
        steps: iterations of each run.
        epochs: the same images come so often, in another order.
        unfolded: let this backbone compute its norms on their own and in NCHW order, as
            MMDetection's does. The losses are then equal bit for bit on a CPU. Otherwise rounding
            may let proposals of almost equal score change places, and the heads draw other ones.
        graphs: train with this backbone's `cuda_graphs` as well.
        amp: bf16 or fp16 for mixed precision.
        options: further settings of the config.

    Returns:
        For each run the loss and the seconds of every step, its peak, and a row of what they come
        to; the largest difference of the losses of the first and the last run; hardware, versions
        and commit.
    """
    where = provenance(DEVICE)
    work_dir.mkdir(parents=True)
    runs: dict[str, Any] = {}
    given = {"seed": seed, "unfolded": unfolded, "amp": amp, "options": options}
    for name in (OWN, GRAPHS, PEER) if graphs else (OWN, PEER):
        # A process for each: the memory of the one is free again when the other begins.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            run = pool.submit(_train, name, config, work_dir, steps // epochs, epochs, given)
            runs[name] = run.result()
    ours, peers = runs[OWN], runs[PEER]
    differences = [abs(a - b) for a, b in zip(ours["loss"], peers["loss"], strict=True)]
    training = {
        "config": Path(config).stem,
        "steps": len(differences),
        "epochs": epochs,
        "amp": amp,
    }
    return {
        "training": {**training, "images": runs[PEER]["images"] // epochs, "unfolded": unfolded},
        "largest_loss_difference": max(differences),
        "rows": [_row(name, run, peers) for name, run in runs.items()],
        "runs": runs,
        **where,
    }


def _row(name: str, run: Mapping[str, Any], peers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": name,
        "median": _median(run),
        "ratio": _median(run) / _median(peers),
        "peak_bytes": run["peak_bytes"],
        "first": statistics.mean(run["loss"][:AT_AN_END]),
        "last": statistics.mean(run["loss"][-AT_AN_END:]),
    }


def _train(
    name: str,
    config: str,
    work_dir: Path,
    steps: int,
    epochs: int,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Runs one of the trainings; the first one leaves its initial weights for the others."""
    cfg = load_config(config, given["options"], work_dir=str(work_dir / name))
    if given["amp"] is not None:
        for_training(cfg, amp=given["amp"], tune=False)
    backbone = train_alone(cfg, given["seed"], epochs, own=name != PEER)
    cfg.train_dataloader.dataset.indices = steps * cfg.train_dataloader.batch_size
    if name != PEER and given["unfolded"]:
        backbone.update(fold_norm=False, channels_last=False)
    if name == GRAPHS:
        backbone["cuda_graphs"] = True
    runner = runner_from(cfg, work_dir / "initial.pth")
    record = RecordHook(given["seed"])
    runner.register_hook(record)
    runner.train()
    images = len(record.loss) * cfg.train_dataloader.batch_size
    found = {"loss": record.loss, "time": record.time, "images": images}
    return {**found, "peak_bytes": peak_bytes(DEVICE)}


def train_alone(cfg: Any, seed: int, epochs: int, *, own: bool) -> dict[str, Any]:
    """Has a config train without evaluations and checkpoints, from values that are drawn.

    Args:
        own: keeps this package's backbone; else MMDetection's takes its place.

    Returns:
        What the config says of the backbone, which may be changed.
    """
    check_data(cfg, "train")
    cfg.merge_from_dict(
        {
            "randomness": {"seed": seed},
            "train_cfg.max_epochs": epochs,
            "default_hooks.checkpoint.interval": -1,
        }
    )
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    backbone = backbone_of(cfg.model)
    backbone["init_cfg"] = None
    if not own:
        take_mmdetections(backbone)
    return backbone


def runner_from(cfg: Any, initial: Path) -> Runner:
    """Returns a runner that starts from the weights in a file, which the first one writes."""
    runner = Runner.from_cfg(cfg)
    if not initial.exists():
        torch.save({"state_dict": runner.model.state_dict()}, initial)
    runner._load_from = str(initial)
    return runner


def take_mmdetections(backbone: dict[str, Any]) -> None:
    """Puts MMDetection's own ResNeXt of the same size in the place of this package's backbone."""
    variant = VARIANTS[backbone.pop("variant")]
    backbone.update(
        type="mmdet.ResNeXt",
        depth=variant.depth,
        groups=variant.cardinality,
        base_width=variant.base_width,
    )


def _median(run: Mapping[str, list[float]]) -> float:
    """Returns that of the seconds of a step; the first one warms up."""
    return statistics.median(run["time"][1:])


def parse_args() -> argparse.Namespace:
    parser = parser_of("training", __doc__)
    parser.add_argument("config", help="a path, or the name of a config of this package")
    parser.add_argument("--steps", type=int, default=20, help="of each run; default %(default)s")
    parser.add_argument("--epochs", type=int, default=1, help="of them; default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--amp", choices=("bf16", "fp16"), help="mixed precision")
    parser.add_argument("--cuda-graphs", action="store_true", help="train with these as well")
    parser.add_argument(
        "--unfolded",
        action="store_true",
        help="compute norms on their own and in NCHW order, as MMDetection does: for equal losses",
    )
    parser.add_argument("--cfg-options", nargs="+", help="settings of the config")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare_training(
            args.config,
            Path(folder) / "runs",
            steps=args.steps,
            epochs=args.epochs,
            seed=args.seed,
            unfolded=args.unfolded,
            graphs=args.cuda_graphs,
            amp=args.amp,
            options=args.cfg_options,
        )
    finish("training", result, args.out, f"training_{result['training']['config']}")
    print(f"largest difference of the losses: {result['largest_loss_difference']:.2e}")


if __name__ == "__main__":
    run_tool(main)
