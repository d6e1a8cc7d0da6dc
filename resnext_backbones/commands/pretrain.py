"""Pretrain a classifier on ImageNet, or on CIFAR.

resnext pretrain imagenet/paper --data-root data/imagenet
torchrun --nproc_per_node 8 -m resnext_backbones pretrain imagenet/a2 \\
    --variant resnext101_32x4d --data-root data/imagenet --amp bf16 --compile
"""

import argparse

from resnext_backbones.commands.arguments import (
    add_amp_argument,
    add_resume_argument,
    add_shared_arguments,
    add_variant_argument,
    start_process,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_shared_arguments(parser)
    add_variant_argument(parser)
    parser.add_argument("--data-root", help="the images, in place of the config's data_root")
    add_resume_argument(parser)
    add_amp_argument(parser)
    parser.add_argument("--compile", action="store_true", help="compile the model")


def run(args: argparse.Namespace) -> None:
    """Pretrain."""
    launcher = start_process(args)
    from resnext_backbones.engine.config import for_training, read_config
    from resnext_backbones.tasks.classification.run import pretrain, set_data_root

    cfg = read_config(
        args.config,
        args.cfg_options,
        variant=args.variant,
        work_dir=args.work_dir,
        launcher=launcher,
    )
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    for_training(cfg, resume=args.resume, amp=args.amp)
    if args.compile:
        cfg.model.compiled = True
    print(f"done: {pretrain(cfg)}")
