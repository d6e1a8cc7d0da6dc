"""Train a detector on Detectron2's engine.

resnext train-detectron2 mask_rcnn_fpn_3x --num-gpus 8
resnext train-detectron2 mask_rcnn_fpn_1x --variant resnext50_32x4d --num-gpus 8
resnext train-detectron2 COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml --num-gpus 8 \\
    MODEL.BACKBONE.NAME build_resnext_fpn_backbone
"""

import argparse

from resnext_backbones.commands import completion
from resnext_backbones.commands.arguments import add_variant_argument, add_weights_argument
from resnext_backbones.commands.completion import completed
from resnext_backbones.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    config = parser.add_argument(
        "config",
        help="a path, the name of a LazyConfig, or that of a YAML file of Detectron2's zoo",
    )
    completed(config, completion.configs("detectron2"))
    parser.add_argument(
        "overrides", nargs="*", help="KEY=VALUE for a LazyConfig, KEY VALUE for a YAML file"
    )
    add_variant_argument(parser)
    add_weights_argument(parser)
    parser.add_argument("--work-dir", help="for all output; default work_dirs/NAME")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the work directory"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, and do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="of each machine; default 1")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="of this machine, from 0")
    parser.add_argument("--dist-url", default="auto", help="tcp://HOST:PORT of the first machine")
    parser.add_argument(
        "--allow-mismatch",
        action="store_true",
        help="warn, and go on, where the detector does not fit its weights",
    )


def run(args: argparse.Namespace) -> None:
    """Train or evaluate."""
    try:
        from resnext_backbones.tasks.detectron2 import Request, run
    except ImportError as error:
        raise InputError(str(error)) from error
    request = Request(
        args.config,
        tuple(args.overrides),
        weights=args.weights,
        variant=args.variant,
        work_dir=args.work_dir,
        resume=args.resume,
        eval_only=args.eval_only,
        allow_mismatch=args.allow_mismatch,
    )
    done = run(
        request,
        num_gpus=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )
    print(f"done: {done}")
