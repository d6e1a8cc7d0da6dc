"""Evaluate a checkpoint: AP on COCO, or IoU of classes.

resnext test mask_rcnn_x101_32x4d_fpn_coco work_dirs/mask_rcnn_x101_32x4d_fpn_coco/epoch_12.pth
resnext test torchvision/deeplabv3_x50_32x4d_voc work_dirs/deeplabv3_x50_32x4d_voc/epoch_30.pth
resnext test torchvision/mask_rcnn_x50_32x4d_fpn_coco auto
"""

import argparse
from pathlib import Path

from resnext_backbones.commands.arguments import ON_RUNNER, add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, *ON_RUNNER)
    parser.add_argument(
        "checkpoint", help="of the same network; auto: the newest one in the work directory"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON; default coco_metrics.json in WORK_DIR, or of segmentation"
    )
    parser.add_argument(
        "--show-dir",
        type=Path,
        help="write pictures with boxes, masks and class names here; of MMDetection's detectors",
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.engine.checkpoints import checkpoint_to_test
    from resnext_backbones.tasks.engines import engine_of, task_of

    task = task_of(engine_of(args.config), "test")
    cfg = task.load_config(
        args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher
    )
    checkpoint = checkpoint_to_test(args.checkpoint, cfg.work_dir)
    task.evaluate(cfg, checkpoint, out=args.out, show_dir=args.show_dir)
