"""Write a network for another runtime, and compare it there.

resnext export torchvision/resnext50_32x4d.v2 --format onnx openvino --out x50
resnext export resnext101_32x4d --weights open-mmlab/resnext101_32x4d --format onnx --out x101.onnx
resnext export work_dirs/resnext29_8x4d_cifar10_quick --format onnx --out cifar.onnx --size 32x32

SOURCE is an alias of `resnext list`, a file of weights, the folder of a run, or a variant with
--weights. Batch, height and width of the images stay free. Each file is run in its runtime on sizes
that it was not made with, and gets its name where it returns what PyTorch does.
"""

import argparse
from pathlib import Path

from resnext_backbones.commands.arguments import add, complete_weights, image_size
from resnext_backbones.commands.convert import PIXELS

FORMATS = ("onnx", "pt2", "aoti", "openvino")
"""As `export.formats` has them, which needs PyTorch."""


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
        "--out", type=Path, help="the file, or its name without a suffix; default: the variant"
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
        "--pixels",
        choices=PIXELS,
        help="what the weights expect, where they do not say it, as of `resnext convert`",
    )
    parser.add_argument(
        "--prefix", default="", help="what a trunk's names begin with, where there are several"
    )


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.export.report import lines_of
    from resnext_backbones.export.source import subject_of
    from resnext_backbones.export.write import paths_for, write

    out = args.out or Path(Path(args.source).name)
    paths = paths_for(out, args.format, overwrite=args.overwrite)
    subject = subject_of(
        args.source,
        weights=args.weights,
        prefix=args.prefix,
        pixels=PIXELS.get(args.pixels),
        trunk=args.trunk,
        out_indices=args.out_indices,
    )
    if subject.note:
        print(subject.note)
    write(subject, paths, args.size, lambda done: print("\n".join(lines_of(done, subject))))
