#!/usr/bin/env python3
"""Pretrain a small backbone, train a Mask R-CNN with and without it, and say what it was worth.

python tools/demo.py                          on shapes that are drawn for it
python tools/demo.py --coco-root data/coco    on some images of COCO
"""

import argparse
import time
from pathlib import Path

from resnext_backbones.detection.demo import run_demo
from resnext_backbones.runs.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco-root", type=Path, help="a COCO tree; default: shapes are drawn")
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs") / time.strftime("demo_%Y%m%d_%H%M%S"),
        help="a new folder for all output; default %(default)s",
    )
    parser.add_argument("--num-train", type=int, default=400, help="images to train on")
    parser.add_argument("--num-val", type=int, default=100, help="images to evaluate on")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="as tools/train.py")
    parser.add_argument(
        "--pretrain-options", nargs="+", default=[], help="as tools/pretrain_imagenet.py's"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = run_demo(
        args.work_dir,
        coco_root=args.coco_root,
        num_train=args.num_train,
        num_val=args.num_val,
        options=args.cfg_options,
        pretrain_options=args.pretrain_options,
    )
    print(f"COCO table, curves.png and pictures/ are in\n{folder}")


if __name__ == "__main__":
    run_tool(main)
