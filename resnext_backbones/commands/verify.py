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

from resnext_backbones.commands.arguments import add, positive
from resnext_backbones.errors import InputError
from resnext_backbones.verdict import report
from resnext_backbones.weights.registry import REGISTRY

OPTIONS = {
    "classifier": ("data_root", "ground_truth", "ground_truth_classes"),
    "detector": ("coco_root", "stock_backbone", "cfg_options"),
}
"""Each kind has options of its own; the first says where the images lie."""

DATA = {"classifier": "ImageNet", "detector": "COCO"}


def _published(prefix: str, **_: object) -> list[str]:
    """Returns the aliases, and the names in MMDetection's zoo, that begin with `prefix`."""
    from resnext_backbones.tasks.mmdetection.zoo import installed_zoo, zoo_rows

    root = installed_zoo()
    names = [*REGISTRY, *(zoo_rows(root) if root else ())]
    return [name for name in names if name.startswith(prefix)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    either = "of `resnext list`, or a name in MMDetection's zoo"
    add(parser, "alias", help=either, completer=_published)
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
    add(parser, "--device", "--launcher", "--cfg-options")


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.engine.processes import leave_processes

    work_dir = args.work_dir or Path("work_dirs") / "verify" / args.alias
    shared = {"tolerance": args.tolerance, "launcher": args.launcher}
    if row := REGISTRY.get(args.alias):
        _check_options(args, "classifier")
        from resnext_backbones.tasks.classification.verify import verify_classifier

        lists = {name: getattr(args, name) for name in ("ground_truth", "ground_truth_classes")}
        truth = {name: path for name, path in lists.items() if path}
        size = args.batch_size or 64
        source, backbone = row.source.reference, f"resnext_backbones.{row.variant}"
        numbers = verify_classifier(
            row, args.data_root, work_dir, ground_truth=truth, batch_size=size, **shared
        )
    else:
        from resnext_backbones.tasks.mmdetection.zoo import find_detector

        detector = find_detector(args.alias)
        _check_options(args, "detector")
        from resnext_backbones.tasks.mmdetection.verify import verify_detector

        source = detector.source
        backbone, numbers = verify_detector(
            detector,
            args.coco_root,
            work_dir,
            own_backbone=not args.stock_backbone,
            options=args.cfg_options,
            batch_size=args.batch_size,
            **shared,
        )
    from mmengine.dist import is_main_process

    if is_main_process():
        print(report(args.alias, source, backbone, numbers))
    leave_processes()
    if not all(number.agrees for number in numbers):
        sys.exit(1)


def _check_options(args: argparse.Namespace, kind: str) -> None:
    """Raises InputError where an option is of the other kind, or where no images are named."""
    (other,) = OPTIONS.keys() - {kind}
    if given := [f"--{n.replace('_', '-')}" for n in OPTIONS[other] if getattr(args, n)]:
        raise InputError(f"{', '.join(given)}: only for a {other}, and {args.alias} is a {kind}")
    if getattr(args, root := OPTIONS[kind][0]) is None:
        raise InputError(
            f"{args.alias}: is a {kind}; --{root.replace('_', '-')} says where {DATA[kind]} lies"
        )
