"""Pretrain, train a Mask R-CNN, and draw what it finds.

resnext demo                          # on shapes that are drawn for it
resnext demo --coco-root data/coco    # on some images of COCO
resnext demo --variant gcresnext26ts  # with another backbone
resnext demo --train-on 30 --compare  # what pretraining is worth where a detector sees few images
"""

import argparse
import time
from pathlib import Path

from resnext_backbones.commands.arguments import add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--coco-root", type=Path, help="a COCO tree; default: shapes are drawn")
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs") / time.strftime("demo_%Y%m%d_%H%M%S"),
        help="a new folder for all output; default %(default)s",
    )
    add(parser, "--variant")
    parser.add_argument("--num-train", type=int, default=600, help="images to train on")
    parser.add_argument(
        "--train-on",
        type=int,
        metavar="NUMBER",
        help="of these images the detector sees, for as many steps as on all; the backbone is "
        "pretrained on the objects of all; default: all",
    )
    parser.add_argument("--num-val", type=int, default=100, help="images to evaluate on")
    parser.add_argument(
        "--compare", action="store_true", help="train another one from random weights"
    )
    parser.add_argument("--cfg-options", nargs="+", default=[], help="as `resnext train`")
    parser.add_argument(
        "--pretrain-options", nargs="+", default=[], help="as `resnext pretrain`'s --cfg-options"
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.tasks.demo import run_demo

    folder = run_demo(**vars(args))
    page = "report.html, " if (folder / "report.html").is_file() else ""
    print(f"{page}COCO table, curves.png and pictures/ are in\n{folder}")
