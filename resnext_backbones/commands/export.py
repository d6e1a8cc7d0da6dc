"""Write a network for another runtime, and compare it there.

resnext export torchvision/resnext50_32x4d.v2 --format onnx openvino --out x50
resnext export resnext101_32x4d --weights open-mmlab/resnext101_32x4d --format onnx --out x101.onnx
resnext export work_dirs/resnext29_8x4d_cifar10_quick --format onnx --out cifar.onnx --size 32x32

resnext export x29.safetensors --format onnx --int8 data/cifar10/train --val data/cifar10/test
resnext export mask_rcnn_run/epoch_12.pth --detector --images val2017 --out mask_rcnn.onnx

SOURCE is an alias of `resnext list`, a file of weights, the folder of a run, or a variant with
--weights. Batch, height and width of the images stay free. Each file is run in its runtime on sizes
that it was not made with, and gets its name where it returns what PyTorch does.

--int8 quantises it after that, with real images; --val measures what it costs.
"""

import argparse
from pathlib import Path
from typing import Any

from resnext_backbones.commands.arguments import add, complete_weights, image_size, positive
from resnext_backbones.commands.convert import PIXELS
from resnext_backbones.commands.export_detector import add_detector_arguments, run_detector

OF_DETECTORS = ("images", "set", "norm_eps")
"""Options of whole detectors alone."""

FORMATS = ("onnx", "pt2", "aoti", "openvino")
"""As `export.formats` has them, which needs PyTorch."""


def _crop(text: str) -> Any:
    """Returns a crop, or raises ArgumentTypeError."""
    from resnext_backbones.weights.publishers import Crop

    if text == "whole":
        return text
    size, _, resize = text.partition("/")
    if not (size.isdigit() and resize.isdigit() and 0 < int(size) <= int(resize)):
        raise argparse.ArgumentTypeError(f"{text}: use SIZE/RESIZE, as 224/256, or whole")
    return Crop(int(size), int(resize))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "source", metavar="SOURCE", completer=complete_weights)
    add(
        parser,
        "--weights",
        help="of a variant: a file, an alias, an address or the folder of a run; none: random "
        "values",
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["onnx"],
        help="onnx; pt2, of torch.export; aoti, compiled for this machine by AOTInductor; openvino",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="the file, or its name without a suffix; default: the last part of SOURCE, without "
        "the suffix of a file of weights",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--trunk", action="store_true", help="feature maps, where there is a head for logits"
    )
    parser.add_argument(
        "--out-indices",
        type=int,
        nargs="+",
        metavar="I",
        help="of a trunk: the stages whose maps it returns, 0 to 3; default: all",
    )
    parser.add_argument(
        "--size",
        type=image_size,
        nargs="+",
        default=[],
        metavar="HxW",
        help="compare and time these sizes, too; default 224x224",
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="IMAGES",
        help="quantise to 8 bits; a folder with images like those that it is for, at any depth",
    )
    add(parser, "--int8-images", type=positive, help="so many of them at most; default 256")
    parser.add_argument(
        "--val",
        type=Path,
        metavar="IMAGES",
        help="of a classifier: a folder for each class, by its name, or numbered from 0 by sorted "
        "names where the weights do not name classes; measures top-1 in the runtime and in PyTorch",
    )
    parser.add_argument(
        "--crop",
        type=_crop,
        metavar="SIZE/RESIZE",
        help="what images are cut to, where the weights do not say it: the middle pixels of how "
        "many on the shorter side, resized bilinearly, as 224/256; whole: images as they are. "
        "Trunks are quantised so",
    )
    parser.add_argument(
        "--pixels",
        choices=PIXELS,
        help="what the weights expect, where they do not say it, as of `resnext convert`",
    )
    parser.add_argument(
        "--prefix", default="", help="what a trunk's names begin with, where there are several"
    )
    add_detector_arguments(parser)


def run(args: argparse.Namespace) -> None:
    if args.detector:
        run_detector(args)
    else:
        _run_network(args)


def _run_network(args: argparse.Namespace) -> None:
    from resnext_backbones.errors import InputError
    from resnext_backbones.export.accuracy import Validation
    from resnext_backbones.export.quantise import USED, Calibration, check_quantised
    from resnext_backbones.export.report import lines_of, said_of
    from resnext_backbones.export.source import subject_of
    from resnext_backbones.export.write import default_out, paths_for, write

    for option in OF_DETECTORS:
        if getattr(args, option) not in (None, []):
            raise InputError(
                f"--{option.replace('_', '-')}: is for whole detectors; add --detector"
            )
    if args.int8_images and not args.int8:
        raise InputError("--int8-images: is how many images of --int8 are used; name their folder")
    out = args.out or default_out(args.source)
    paths = paths_for(out, args.format, overwrite=args.overwrite)
    if args.int8:
        check_quantised(args.format)
    subject = subject_of(
        args.source,
        weights=args.weights,
        prefix=args.prefix,
        pixels=PIXELS.get(args.pixels),
        crop=args.crop,
        trunk=args.trunk,
        out_indices=args.out_indices,
    )
    if args.crop and not args.int8 and subject.metadata["task"] == "trunk":
        raise InputError("--crop: a trunk takes any size, and only --int8 needs a crop of it")
    most = args.int8_images or USED
    write(
        subject,
        paths,
        sizes=args.size,
        int8=Calibration.of(args.int8, subject, most) if args.int8 else None,
        validation=Validation.of(args.val, subject) if args.val else None,
        done=lambda written: print("\n".join(lines_of(written, subject)), flush=True),
    )
    for line in said_of(subject):
        print(line)
