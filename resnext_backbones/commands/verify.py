"""Measure published weights against their published number.

resnext verify torchvision/resnext50_32x4d.v2 --data-root data/imagenet/val
resnext verify mask-rcnn_x101-32x4d_fpn_1x_coco --coco-root data/coco
torchrun --nproc_per_node 8 -m resnext_backbones verify mask-rcnn_x101-32x4d_fpn_1x_coco \\
    --coco-root data/coco

The weights are downloaded: a classifier's by its alias of `resnext list`, a detector's by its name
in MMDetection's zoo. The exit status is 0 where the numbers agree, and 1 where they differ by more
than the tolerance: 0.2 points of top-1, 0.1 of AP.
"""

import argparse
import sys
from pathlib import Path

from resnext_backbones.commands import completion
from resnext_backbones.commands.arguments import (
    add_device_argument,
    add_launcher_argument,
    add_options_argument,
    positive,
    start_process,
)
from resnext_backbones.commands.completion import completed
from resnext_backbones.errors import InputError
from resnext_backbones.verdict import Number, report
from resnext_backbones.weights.registry import REGISTRY

OPTIONS = {
    "classifier": ("data_root", "ground_truth", "ground_truth_classes"),
    "detector": ("coco_root", "stock_backbone", "cfg_options"),
}
"""Those of one kind alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    completed(
        parser.add_argument("alias", help="of `resnext list`, or a name in MMDetection's zoo"),
        completion.published,
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help="of a classifier: ImageNet's validation images, a folder a "
        "class, or the folder with val/",
    )
    parser.add_argument(
        "--ground-truth", help="of images in one folder: the list of a class for each image"
    )
    parser.add_argument(
        "--ground-truth-classes", help="the classes in the order that --ground-truth counts in"
    )
    parser.add_argument(
        "--coco-root", type=Path, help="of a detector: the folder with annotations/ and val2017/"
    )
    parser.add_argument(
        "--stock-backbone",
        action="store_true",
        help="leave MMDetection's own ResNeXt in a detector; default: this package's",
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="POINTS", help="by which the numbers may differ"
    )
    parser.add_argument(
        "--batch-size", type=positive, help="images a process; default 64, of a detector 1"
    )
    parser.add_argument("--work-dir", type=Path, help="default work_dirs/verify/ALIAS")
    add_device_argument(parser)
    add_launcher_argument(parser)
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Verify."""
    launcher = start_process(args)
    work_dir = args.work_dir or Path("work_dirs") / "verify" / args.alias
    measure = _classifier if args.alias in REGISTRY else _detector
    source, backbone, numbers = measure(args, work_dir, launcher)
    from resnext_backbones.engine.processes import is_main_process, leave_processes

    if is_main_process():
        print(report(args.alias, source, backbone, numbers))
    leave_processes()
    if not all(number.agrees for number in numbers):
        sys.exit(1)


def _classifier(
    args: argparse.Namespace, work_dir: Path, launcher: str
) -> tuple[str, str, list[Number]]:
    _check_options(args, "classifier")
    if args.data_root is None:
        raise InputError(f"{args.alias}: is a classifier; --data-root says where ImageNet lies")
    from resnext_backbones.tasks.classification.verify import verify_classifier

    row = REGISTRY[args.alias]
    lists = {name: getattr(args, name) for name in ("ground_truth", "ground_truth_classes")}
    numbers = verify_classifier(
        row,
        args.data_root,
        work_dir,
        ground_truth={name: path for name, path in lists.items() if path},
        batch_size=args.batch_size or 64,
        tolerance=args.tolerance,
        launcher=launcher,
    )
    return row.source.reference, f"resnext_backbones.{row.variant}", numbers


def _detector(
    args: argparse.Namespace, work_dir: Path, launcher: str
) -> tuple[str, str, list[Number]]:
    from resnext_backbones.tasks.mmdetection.zoo import find_detector

    detector = find_detector(args.alias)
    _check_options(args, "detector")
    if args.coco_root is None:
        raise InputError(f"{args.alias}: is a detector; --coco-root says where COCO lies")
    from resnext_backbones.tasks.mmdetection.verify import verify_detector

    backbone, numbers = verify_detector(
        detector,
        args.coco_root,
        work_dir,
        own_backbone=not args.stock_backbone,
        options=args.cfg_options,
        batch_size=args.batch_size,
        tolerance=args.tolerance,
        launcher=launcher,
    )
    return detector.source, backbone, numbers


def _check_options(args: argparse.Namespace, kind: str) -> None:
    """Check that no option is of the other kind.

    Raises:
        InputError: one is.
    """
    for other, names in OPTIONS.items():
        if other == kind:
            continue
        if given := [f"--{n.replace('_', '-')}" for n in names if getattr(args, n)]:
            raise InputError(
                f"{', '.join(given)}: only for a {other}, and {args.alias} is a {kind}"
            )
