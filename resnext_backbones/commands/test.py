"""Evaluate a detector's checkpoint on COCO.

resnext test mask_rcnn_x101_32x4d_fpn_coco work_dirs/mask_rcnn_x101_32x4d_fpn_coco/epoch_12.pth
"""

import argparse
from pathlib import Path

from resnext_backbones.commands.arguments import add_shared_arguments, start_process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_shared_arguments(parser)
    parser.add_argument("checkpoint", help="of the same detector")
    parser.add_argument("--out", type=Path, help="JSON; default WORK_DIR/coco_metrics.json")
    parser.add_argument(
        "--show-dir", type=Path, help="write pictures with boxes, masks and class names here"
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    launcher = start_process(args)
    from resnext_backbones.tasks.mmdetection.config import load_config
    from resnext_backbones.tasks.mmdetection.run import evaluate

    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    evaluate(cfg, args.checkpoint, out=args.out, show_dir=args.show_dir)
