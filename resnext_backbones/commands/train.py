"""Train a detector or segmentation network of any engine.

resnext train mask_rcnn_x101_32x4d_fpn_coco
torchrun --nproc_per_node 8 -m resnext_backbones train mask_rcnn_x101_32x4d_fpn_coco --amp bf16 \\
    --cuda-graphs
resnext train torchvision/mask_rcnn_x50_32x4d_fpn_coco
resnext train detectron2/mask_rcnn_fpn_3x --num-gpus 8
"""

import argparse

from resnext_backbones.commands.arguments import (
    LAUNCH,
    ON_RUNNER,
    add,
    launch_options,
    training_options,
)
from resnext_backbones.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, *ON_RUNNER, "--variant", "--weights", "--allow-mismatch", "--resume", "--amp")
    add(parser, "--deterministic", "--no-tune", "--loggers")
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="on GPUs, launch the backbone's step as one for images whose shape comes again: for "
        "few images a GPU, which are computed faster than they are launched",
    )
    add(parser.add_argument_group("for Detectron2, which starts its processes"), *LAUNCH)


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.tasks.engines import DETECTRON2, engine_of, task_of

    engine = engine_of(args.config)
    if engine == DETECTRON2:
        from resnext_backbones.commands import train_detectron2

        if args.cuda_graphs:
            raise InputError(
                "--cuda-graphs: of MMEngine's runner; Detectron2's backbone takes cuda_graphs=True "
                "among its options (docs/training.md)"
            )
        train_detectron2.run(train_detectron2.translated(args))
        return
    if launch := [f"--{name.replace('_', '-')}" for name in launch_options(args)]:
        raise InputError(f"{', '.join(launch)}: of Detectron2; start this with torchrun")
    from resnext_backbones.engine.config import for_training, use_cuda_graphs, use_variant

    task = task_of(engine, "train")
    cfg = task.load_config(
        args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher
    )
    if args.variant is not None:
        use_variant(cfg, args.variant)
    if args.cuda_graphs:
        use_cuda_graphs(cfg)
    changed = task.use_weights(cfg, args.weights) if args.weights is not None else ""
    for_training(cfg, **training_options(args))
    done = task.train(cfg, allow_mismatch=args.allow_mismatch, changed=changed)
    print(f"done: {done}")
