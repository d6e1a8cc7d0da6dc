#!/usr/bin/env python3
"""Train a detector.

python tools/train.py configs/mask_rcnn_x101_32x4d_fpn_coco.py --weights resnext101_32x4d.pth
torchrun --nproc_per_node 8 tools/train.py configs/mask_rcnn_x101_32x4d_fpn_coco.py --amp
"""

import argparse

from resnext_backbones.detection.cli import add_shared_arguments, run_tool
from resnext_backbones.detection.environment import find_launcher, select_device


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a detector.")
    add_shared_arguments(parser)
    parser.add_argument("--weights", help="of the backbone: a file, a URL or open-mmlab://NAME")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work directory, or from this one",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: float16 on GPUs")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    launcher = args.launcher or find_launcher()
    select_device(args.device, launcher)

    # MMEngine looks for devices when it is imported, so not before one is selected.
    from resnext_backbones.detection.config import for_training, load_config
    from resnext_backbones.detection.run import train

    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=launcher)
    for_training(cfg, weights=args.weights, resume=args.resume, amp=args.amp)
    print(f"done: {train(cfg)}")


if __name__ == "__main__":
    run_tool(main)
