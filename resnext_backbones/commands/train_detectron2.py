"""Train a detector on Detectron2's engine.

resnext train-detectron2 mask_rcnn_fpn_3x --num-gpus 8
resnext train-detectron2 mask_rcnn_fpn_1x --variant resnext50_32x4d --num-gpus 8
resnext train-detectron2 COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml --num-gpus 8 \\
    MODEL.BACKBONE.NAME build_resnext_fpn_backbone
"""

import argparse
from dataclasses import fields

from resnext_backbones.commands.arguments import (
    LAUNCH,
    add,
    complete_lazy_configs,
    complete_lazy_variants,
    launch_options,
)
from resnext_backbones.engine.catalogue import find_config
from resnext_backbones.engine.started import find, is_elastic
from resnext_backbones.errors import InputError

AMP = {True: ("SOLVER.AMP.ENABLED", "True"), False: ("train.amp.enabled=True",)}
"""These settings of a YAML file, and of a LazyConfig, switch on mixed precision."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "a path, the name of a LazyConfig, or that of a YAML file of Detectron2's zoo"
    add(parser, "config", help=kinds, completer=complete_lazy_configs)
    parser.add_argument(
        "overrides", nargs="*", help="KEY=VALUE for a LazyConfig, KEY VALUE for a YAML file"
    )
    add(parser, "--variant", completer=complete_lazy_variants)
    add(parser, "--weights", "--work-dir")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the work directory"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, and do not train")
    add(parser, *LAUNCH, "--allow-mismatch", "--deterministic", "--no-tune", "--loggers")


def translated(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments of `resnext train` as this command has them; raises InputError of one
    that Detectron2 does not know.
    """
    is_yaml = args.config.endswith((".yaml", ".yml"))
    if args.resume not in (None, "auto"):
        raise InputError(
            f"--resume {args.resume}: Detectron2 goes on from the last checkpoint of --work-dir; "
            "leave the name out"
        )
    if args.amp == "bf16":
        raise InputError("--amp bf16: Detectron2 has fp16 alone")
    given = args.cfg_options or []
    if wrong := [option for option in given if "=" not in option]:
        raise InputError(f"--cfg-options {wrong[0]}: use KEY=VALUE")
    overrides = [p for o in given for p in o.split("=", 1)] if is_yaml else list(given)
    config = args.config if is_yaml else str(find_config(args.config))
    return argparse.Namespace(
        **{**vars(args), "config": config, "resume": args.resume is not None, "eval_only": False},
        overrides=[*overrides, *(AMP[is_yaml] if args.amp else ())],
    )


def check_launcher(launcher: str | None, machines: int | None) -> None:
    """Raises InputError where each process of a launcher would start all of Detectron2's.

    Args:
        launcher: as of `find`.
        machines: so many processes may be started, one on each.
    """
    started = find(launcher)
    if started and (is_elastic() or started.world_size != (machines or 1)):
        raise InputError(
            f"{started}: Detectron2 starts its processes by itself: --num-gpus, not a launcher; "
            "srun and mpirun may start one on each of --num-machines"
        )


def run(args: argparse.Namespace) -> None:
    check_launcher(getattr(args, "launcher", None), args.num_machines)
    try:
        from resnext_backbones.tasks.detectron2 import Request, run
    except ImportError as error:
        raise InputError(str(error)) from error
    request = Request(**{field.name: getattr(args, field.name) for field in fields(Request)})
    print(f"done: {run(request, **launch_options(args))}")
