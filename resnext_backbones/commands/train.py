"""Train a detector of MMDetection.

resnext train mask_rcnn_x101_32x4d_fpn_coco
torchrun --nproc_per_node 8 -m resnext_backbones train mask_rcnn_x101_32x4d_fpn_coco --amp bf16
"""

import argparse

from resnext_backbones.commands.arguments import (
    add_amp_argument,
    add_resume_argument,
    add_shared_arguments,
    add_weights_argument,
    start_process,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_shared_arguments(parser)
    add_weights_argument(parser)
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="warn, and go on, where pixels, norms or frozen stages do not fit the weights",
    )
    add_resume_argument(parser)
    add_amp_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Train."""
    launcher = start_process(args)
    from resnext_backbones.engine.config import for_training
    from resnext_backbones.tasks.mmdetection.config import load_config
    from resnext_backbones.tasks.mmdetection.run import train
    from resnext_backbones.tasks.mmdetection.weights import use_weights

    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    changed = use_weights(cfg, args.weights) if args.weights is not None else ""
    for_training(cfg, resume=args.resume, amp=args.amp)
    done = train(cfg, allow_mismatch=args.allow_mismatch, changed=changed)
    print(f"done: {done}")
