#!/usr/bin/env python3
"""Pretrain a classifier on ImageNet, or on CIFAR.

python tools/pretrain_imagenet.py configs/imagenet/resnext50_32x4d_paper.py --data-root imagenet
torchrun --nproc_per_node 8 tools/pretrain_imagenet.py configs/imagenet/... --amp bf16 --compile
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
    parser = argparse.ArgumentParser(description="Pretrain a classifier.")
    add_shared_arguments(parser)
    parser.add_argument("--data-root", help="the images, in place of the config's data_root")
    add_resume_argument(parser)
    add_amp_argument(parser)
    parser.add_argument("--compile", action="store_true", help="compile the model")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    launcher = args.launcher or find_launcher()
    select_device(args.device, launcher)

    # MMEngine looks for devices when it is imported, so not before one is selected.
    from resnext_backbones.pretraining.run import pretrain, set_data_root
    from resnext_backbones.runs.config import for_training, read_config

    cfg = read_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    for_training(cfg, resume=args.resume, amp=args.amp)
    if args.compile:
        cfg.model.compiled = True
    print(f"done: {pretrain(cfg)}")


if __name__ == "__main__":
    run_tool(main)
