"""Check annotations and images; write other formats as COCO.

resnext check-data annotations/instances_train2017.json train2017
resnext check-data annotations/instances_train2017.json train2017 \\
    --val annotations/instances_val2017.json --val-images val2017
resnext check-data --from yolo data.yaml --split val --out annotations/val.json
resnext check-data --from voc VOC2012 --split train --out annotations/train.json
resnext check-data --from labelme shapes images --out annotations/train.json

The tables have what the files hold and what is odd in them: what is refused, left out, filled in
or only counted when a detector trains. The exit status is 0 where nothing is refused, else 1.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from resnext_backbones.commands.arguments import add
from resnext_backbones.errors import InputError

WRITTEN = ("out", "json")

ONLY_FROM = ("split", "classes", "out")
"""These go with --from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(
        parser,
        "annotations",
        type=Path,
        help="a file in COCO's format; with --from a data.yaml, or the folder of the labels",
    )
    add(
        parser,
        "images",
        type=Path,
        nargs="?",
        help="the folder that the names of images begin at; with --from, where they are not "
        "where the format has them",
    )
    parser.add_argument(
        "--val", type=Path, metavar="FILE", help="the annotations that the network is measured on"
    )
    parser.add_argument(
        "--val-images", type=Path, metavar="FOLDER", help="their images, to be compared as well"
    )
    parser.add_argument(
        "--masks", action="store_true", help="every object must have a mask, as Mask R-CNN takes it"
    )
    parser.add_argument(
        "--decode",
        action="store_true",
        help="read every image to its end, which takes minutes; default: its header",
    )
    parser.add_argument(
        "--unannotated",
        action="store_true",
        help="a list of images alone, such as image_info_test-dev2017.json",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the findings as data")
    parser.add_argument(
        "--from",
        dest="kind",
        choices=("yolo", "voc", "labelme"),
        help="the format of the labels; --out is written in COCO's, and checked",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="of --from")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what --out or --json name, if it is there"
    )
    parser.add_argument("--split", help="of --from: of a data.yaml, default train, or of VOC")
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="of --from: the names, one on each line, and no others; default: the format's, or all "
        "that occur, sorted",
    )


def run(args: argparse.Namespace) -> None:
    for path in (getattr(args, name) for name in WRITTEN):
        if path is not None and path.exists() and not args.overwrite:
            raise InputError(f"{path}: is there already; --overwrite replaces it")
    if args.kind is None:
        if given := [f"--{name}" for name in ONLY_FROM if getattr(args, name) is not None]:
            raise InputError(f"{', '.join(given)}: only with --from")
        path, images = args.annotations, args.images
    else:
        path, images = args.out, _convert(args)
    if args.val_images is not None and args.val is None:
        raise InputError("--val-images: of which annotations? --val names them")
    from resnext_backbones.data.check import check_data
    from resnext_backbones.reports.data_check import show_check

    say = partial(print, file=sys.stderr, flush=True)
    checked = check_data(
        path,
        images,
        val=args.val,
        val_images=args.val_images,
        masks=args.masks,
        decode=args.decode,
        annotated=not args.unannotated,
        say=say,
    )
    print(show_check(checked))
    if args.json:
        from resnext_backbones.io import atomic_write_text

        atomic_write_text(args.json, json.dumps(checked.as_dict(), indent=1) + "\n")
    if checked.is_refused:
        sys.exit(1)


def _convert(args: argparse.Namespace) -> Path:
    """Writes a file in COCO's format, says what became of the labels, and returns the folder of
    their images.
    """
    if args.out is None:
        raise InputError(f"--from {args.kind}: --out names the file that is to be written")
    from resnext_backbones.data.check import shown
    from resnext_backbones.data.formats.convert import to_coco
    from resnext_backbones.data.formats.labels import Source, read_classes
    from resnext_backbones.reports.data_check import show_converted

    classes = args.classes and read_classes(args.classes)
    source = Source(args.annotations, args.images, args.split, classes)
    converted = to_coco(args.kind, source, args.out, shown)
    print(show_converted(converted))
    return converted.images_root
