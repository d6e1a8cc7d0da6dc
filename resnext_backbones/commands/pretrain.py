"""Pretrain a classifier on ImageNet, or on CIFAR.

resnext pretrain imagenet/paper --data-root data/imagenet
torchrun --nproc_per_node 8 -m resnext_backbones pretrain imagenet/a2 \\
    --variant resnext101_32x4d --data-root data/imagenet --amp bf16 --compile
"""

import argparse

from resnext_backbones.commands.arguments import ON_RUNNER, add, training_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, *ON_RUNNER, "--variant")
    parser.add_argument("--data-root", help="the images, in place of the config's data_root")
    add(parser, "--resume", "--amp", "--deterministic", "--no-tune", "--loggers")
    parser.add_argument("--compile", action="store_true", help="compile the model")


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.engine.config import for_training, read_config
    from resnext_backbones.tasks.classification.run import pretrain, set_data_root

    cfg = read_config(
        args.config,
        args.cfg_options,
        variant=args.variant,
        work_dir=args.work_dir,
        launcher=args.launcher,
    )
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    for_training(cfg, **training_options(args))
    if args.compile:
        cfg.model.compiled = True
    print(f"done: {pretrain(cfg)}")
