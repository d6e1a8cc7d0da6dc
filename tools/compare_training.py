#!/usr/bin/env python3
"""Train a config with this backbone and with MMDetection's, and compare every step.

COCO_ROOT=data/coco python tools/compare_training.py configs/mask_rcnn_x101_32x4d_fpn_coco.py \
    --steps 20 --out docs/benchmarks/mask_rcnn_x101_32x4d.json
"""

import argparse
import json
import tempfile
from pathlib import Path

from resnext_backbones.runs.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a path, or the name of a config of this package")
    parser.add_argument("--steps", type=int, default=20, help="of each run; default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--unfolded",
        action="store_true",
        help="compute norms on their own and in NCHW order, as MMDetection does: for equal losses",
    )
    parser.add_argument("--out", type=Path, help="write losses, seconds and hardware as JSON")
    parser.add_argument("--cfg-options", nargs="+", help="settings of the config")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from resnext_backbones.detection.compare import compare_training

    with tempfile.TemporaryDirectory() as folder:
        result = compare_training(
            args.config,
            Path(folder) / "runs",
            steps=args.steps,
            seed=args.seed,
            unfolded=args.unfolded,
            options=args.cfg_options,
        )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"steps: {result['steps']}")
    print(f"largest difference of the losses: {result['largest_loss_difference']:.2e}")
    for name, seconds in result["median_seconds"].items():
        print(f"seconds a step, {name}: {seconds:.2f}")
    print(f"ratio: {result['seconds_ratio']:.3f}")


if __name__ == "__main__":
    run_tool(main)
