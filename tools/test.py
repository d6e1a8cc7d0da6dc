#!/usr/bin/env python3
"""Evaluate a detector's checkpoint on COCO.

python tools/test.py configs/mask_rcnn_x101_32x4d_fpn_coco.py work_dirs/.../epoch_12.pth
"""

import argparse
from pathlib import Path

from resnext_backbones.runs.cli import add_shared_arguments, run_tool
from resnext_backbones.runs.environment import find_launcher, select_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate a detector's checkpoint on COCO.")
    add_shared_arguments(parser)
    parser.add_argument("checkpoint", help="of the same detector")
    parser.add_argument("--out", type=Path, help="JSON; default WORK_DIR/coco_metrics.json")
    parser.add_argument(
        "--show-dir", type=Path, help="write pictures with boxes, masks and class names here"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    launcher = args.launcher or find_launcher()
    select_device(args.device, launcher)

    # MMEngine looks for devices when it is imported, so not before one is selected.
    from resnext_backbones.detection.config import load_config
    from resnext_backbones.detection.run import evaluate

    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    evaluate(cfg, args.checkpoint, out=args.out, show_dir=args.show_dir)


if __name__ == "__main__":
    run_tool(main)
