"""Say whether a training fits a GPU, what takes the memory, and what would take less.

resnext plan mask_rcnn_x101_32x4d_fpn_coco --gpu 24GB
resnext plan mask_rcnn_x101_32x4d_fpn_coco --batch 4 --amp bf16
resnext plan imagenet/a2 --variant resnext101_32x4d --gpu 16GB

No GPU is needed, and no data.
"""

import argparse
import re

from resnext_backbones.commands.arguments import add, image_size, positive

UNITS = {"": 30, "G": 30, "GB": 30, "GIB": 30, "M": 20, "MB": 20, "MIB": 20}
"""Powers of two: GPUs of "24 GB" have about so many GiB."""


def _memory(text: str) -> int:
    """Returns bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if not found or found[2] not in UNITS or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text}: use a number of GB, such as 24GB")
    return round(float(found[1]) * 2 ** UNITS[found[2]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "config", "--cfg-options", "--variant", "--amp")
    parser.add_argument(
        "--gpu",
        type=_memory,
        metavar="24GB",
        help="its memory; the best setting that fits is given as a command line",
    )
    parser.add_argument(
        "--batch", type=positive, help="images of a step on one GPU; default the config's"
    )
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="HxW",
        help="of the images; default the largest that the config says",
    )
    parser.add_argument(
        "--boxes",
        type=positive,
        help="objects in an image; default what 99%% of the training images do not exceed, or 100 "
        "where there are no data",
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.reports.plan import plan_text
    from resnext_backbones.tasks.plan import on_gpu, plan

    made = plan(
        args.config,
        options=args.cfg_options,
        variant=args.variant,
        amp=args.amp,
        batch=args.batch,
        size=args.size,
        boxes=args.boxes,
        gpu=args.gpu,
        say=lambda line: print(line, flush=True),
    )
    print()
    print(plan_text(made, None if made.best is None else on_gpu(made.best)))
