"""Say whether a training fits a GPU, and which setting does.

resnext plan mask_rcnn_x101_32x4d_fpn_coco --gpu 24GB
resnext plan mask_rcnn_x101_32x4d_fpn_coco --batch 4 --amp bf16
resnext plan imagenet/a2 --variant resnext101_32x4d --gpu 16GB
resnext plan faster_rcnn_x101_32x4d_fpn_coco --gpu 16GB --work-dir work_dirs/first

No GPU is needed, and no data.
"""

import argparse
from functools import partial

from resnext_backbones.commands.arguments import add, byte_count, image_size, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "config", "--cfg-options", "--variant", "--amp")
    parser.add_argument(
        "--work-dir",
        help="of the run that is planned: its page then has the plan beside what it took",
    )
    parser.add_argument(
        "--gpu",
        type=byte_count,
        metavar="24GB",
        help="its memory, as nvidia-smi says it in MiB; the best setting that fits is given as a "
        "command line",
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
    from resnext_backbones.reports.plan import more_text, now_text
    from resnext_backbones.tasks.plan import on_gpu, plan

    say = partial(print, flush=True)
    made = plan(
        args.config,
        options=args.cfg_options,
        variant=args.variant,
        work_dir=args.work_dir,
        amp=args.amp,
        batch=args.batch,
        size=args.size,
        boxes=args.boxes,
        gpu=args.gpu,
        show=lambda first: say(f"{now_text(first)}\n"),
        say=say,
    )
    say(f"\n{more_text(made, on_gpu)}")
