#!/usr/bin/env python3
"""Train a detector.

python tools/train.py configs/mask_rcnn_x101_32x4d_fpn_coco.py
torchrun --nproc_per_node 8 tools/train.py configs/... --amp bf16
"""

import argparse

from resnext_backbones.runs.cli import (
    add_amp_argument,
    add_resume_argument,
    add_shared_arguments,
    run_tool,
)
from resnext_backbones.runs.environment import find_launcher, select_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a detector.")
    add_shared_arguments(parser)
    parser.add_argument(
        "--weights",
        help="of the backbone, in place of the config's: a file, an address or an alias of "
        "docs/weights.md; none: random values, and nothing frozen",
    )
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="warn, and go on, where pixels, norms or frozen stages do not fit the weights",
    )
    add_resume_argument(parser)
    add_amp_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    launcher = args.launcher or find_launcher()
    select_device(args.device, launcher)

    # MMEngine looks for devices when it is imported, so not before one is selected.
    from resnext_backbones.detection.config import load_config
    from resnext_backbones.detection.run import train
    from resnext_backbones.detection.weights import use_weights
    from resnext_backbones.runs.config import for_training

    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    if args.weights is not None:
        use_weights(cfg, args.weights)
    for_training(cfg, resume=args.resume, amp=args.amp)
    print(f"done: {train(cfg, allow_mismatch=args.allow_mismatch)}")


if __name__ == "__main__":
    run_tool(main)
