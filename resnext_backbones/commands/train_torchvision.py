"""Train a detector or segmentation network of torchvision.

resnext train-torchvision --model mask_rcnn --backbone resnext50_32x4d \\
    --weights torchvision/resnext50_32x4d.v2 --coco-root data/coco --work-dir work_dirs/mask_rcnn
torchrun --nproc_per_node 8 -m resnext_backbones train-torchvision ... --amp bf16
"""

import argparse
from pathlib import Path

from resnext_backbones.commands.arguments import (
    add_amp_argument,
    add_device_argument,
    add_resume_argument,
    add_weights_argument,
    not_negative,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--model", required=True, help="mask_rcnn, faster_rcnn, deeplabv3 or fcn")
    parser.add_argument("--backbone", required=True, help="such as resnext50_32x4d")
    parser.add_argument("--work-dir", type=Path, required=True, help="for all output")

    data = parser.add_argument_group("data")
    data.add_argument(
        "--coco-root", type=Path, help="the folder with annotations/, train2017/ and val2017/"
    )
    data.add_argument("--voc-root", type=Path, help="the folder with VOCdevkit/VOC2012/")
    data.add_argument(
        "--mask-root",
        type=Path,
        help="train2017/ and val2017/ with PNGs of classes, 255 for none, for --coco-root's images",
    )
    data.add_argument("--num-classes", type=int, help="in the PNGs of --mask-root")
    data.add_argument("--limit-images", type=int, metavar="N", help="the first N of each split")
    data.add_argument("--workers", type=not_negative, default=2, help="that load images, a process")

    network = parser.add_argument_group("network")
    add_weights_argument(network)
    network.add_argument(
        "--norm", choices=("FrozenBN", "BN", "SyncBN", "GN"), help="of the backbone"
    )
    network.add_argument(
        "--trainable-layers", type=int, metavar="0..5", help="of the backbone, from the top"
    )
    network.add_argument("--output-stride", type=int, choices=(8, 16), help="default 8")
    network.add_argument(
        "--min-size", type=int, nargs="+", default=(), help="of the shorter side; several: drawn"
    )
    network.add_argument("--max-size", type=int, default=1333, help="of the longer side")

    training = parser.add_argument_group("training")
    add_resume_argument(training)
    training.add_argument("--epochs", type=int)
    training.add_argument("--batch-size", type=int, default=2, help="images a process")
    training.add_argument(
        "--lr", type=float, help="for 16 images a step (segmentation: 32); scaled to the batch"
    )
    training.add_argument("--lr-steps", type=int, nargs="+", help="epochs after which it falls")
    add_amp_argument(training)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--checkpoint-minutes", type=float, default=0, help="within an epoch")
    training.add_argument("--keep", type=int, default=3, help="checkpoints; default 3")
    training.add_argument("--eval-every", type=int, default=1, metavar="EPOCHS")
    training.add_argument("--log-every", type=int, default=20, metavar="STEPS")
    training.add_argument(
        "--eval-only",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="evaluate the newest checkpoint of the work directory, or this one",
    )
    add_device_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Train or evaluate."""
    from resnext_backbones.engine.processes import (
        find_launcher,
        is_main_process,
        join_processes,
        select_device,
    )

    options = vars(args)
    launcher = find_launcher()
    select_device(options.pop("device"), launcher)
    checkpoint = options.pop("eval_only")

    from resnext_backbones.tasks.torchvision import Settings, evaluate, train

    for name in ("min_size", "lr_steps"):
        options[name] = options[name] and tuple(options[name])
    settings = Settings(**options)
    device = join_processes(launcher)
    if checkpoint:
        evaluate(settings, device, checkpoint)
    else:
        work_dir = train(settings, device)
        if is_main_process():
            print(f"done: {work_dir}")
