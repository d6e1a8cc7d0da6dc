"""Train a detector or segmentation network of any engine.

resnext train mask_rcnn_x101_32x4d_fpn_coco
torchrun --nproc_per_node 8 -m resnext_backbones train mask_rcnn_x101_32x4d_fpn_coco --amp bf16
resnext train torchvision/mask_rcnn_x50_32x4d_fpn_coco
resnext train detectron2/mask_rcnn_fpn_3x --num-gpus 8
"""

import argparse

from resnext_backbones.commands.arguments import (
    add_amp_argument,
    add_launch_arguments,
    add_resume_argument,
    add_shared_arguments,
    add_variant_argument,
    add_weights_argument,
    launch_options,
    start_process,
)
from resnext_backbones.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_shared_arguments(parser)
    add_variant_argument(parser)
    add_weights_argument(parser)
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="warn, and go on, where pixels, norms or frozen stages do not fit the weights",
    )
    add_resume_argument(parser)
    add_amp_argument(parser)
    add_launch_arguments(parser.add_argument_group("for Detectron2, which starts its processes"))


def run(args: argparse.Namespace) -> None:
    """Train."""
    launcher = start_process(args)
    from resnext_backbones.tasks.engines import DETECTRON2, engine_of, task_of

    engine = engine_of(args.config)
    if engine == DETECTRON2:
        from resnext_backbones.commands import train_detectron2

        train_detectron2.run(train_detectron2.translated(args, launcher))
        return
    if launch := [f"--{name.replace('_', '-')}" for name in launch_options(args)]:
        raise InputError(f"{', '.join(launch)}: of Detectron2; start this with torchrun")
    from resnext_backbones.engine.config import for_training
    from resnext_backbones.engine.networks import use_variant

    task = task_of(engine, "train")
    cfg = task.load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    if args.variant is not None:
        use_variant(cfg, args.variant)
    changed = task.use_weights(cfg, args.weights) if args.weights is not None else ""
    for_training(cfg, resume=args.resume, amp=args.amp)
    done = task.train(cfg, allow_mismatch=args.allow_mismatch, changed=changed)
    print(f"done: {done}")
