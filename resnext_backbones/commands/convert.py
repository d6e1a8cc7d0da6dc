"""Write weights for another framework.

resnext convert torchvision/resnext50_32x4d.v2 x50.pkl --to detectron2
resnext convert model_final.pth x101.safetensors --to safetensors --pixels BGR
resnext convert moco.pth x50.safetensors --to safetensors --prefix encoder_q
resnext convert net.pth x50.pth --to timm --variant legacy_seresnext50_32x4d
resnext convert mask_rcnn_x101.pth model.pkl --to detectron2 --detector --pixels RGB

SOURCE is a file, an address, or an alias of `resnext list`. The trunk is written, with its
classification head if there is one; of a detector's checkpoint nothing else, unless --detector
takes it whole: a Faster or Mask R-CNN with FPN, between mmdet, detectron2 and torchvision.
"""

import argparse
import math

from resnext_backbones.commands.arguments import add, complete_weights
from resnext_backbones.errors import InputError
from resnext_backbones.weights.detector_names import CLASS_IDS, LAYOUTS
from resnext_backbones.weights.formats import TARGETS
from resnext_backbones.weights.preprocessing import PIXEL_NAMES

PIXELS = {name: pixels for pixels, name in PIXEL_NAMES.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(parser, "source", completer=complete_weights)
    parser.add_argument("dest")
    parser.add_argument("--to", choices=TARGETS, required=True)
    parser.add_argument(
        "--pixels",
        choices=PIXELS,
        help="what the weights expect, where the source does not say: "
        + "; ".join(f"{name} is {pixels}" for name, pixels in PIXELS.items()),
    )
    parser.add_argument(
        "--detector",
        action="store_true",
        help="write a whole Faster or Mask R-CNN with FPN, heads included, and print the settings "
        f"with which the target finds the same; --to {', '.join(LAYOUTS)}",
    )
    parser.add_argument(
        "--to-pixels",
        choices=PIXELS,
        help="what a detector shall expect: the first convolution is turned and scaled; "
        "default: what it expects, as RGB for torchvision",
    )
    parser.add_argument(
        "--class-ids",
        choices=CLASS_IDS,
        help="where torchvision's detector has its classes: at COCO's ids, if they are COCO's 80, "
        "or one behind the other; default: coco",
    )
    parser.add_argument(
        "--norm-eps",
        type=float,
        metavar="EPS",
        help="of a detector's batch norms, where SOURCE does not say it; 0 for torchvision's "
        "COCO_V1, saved again; default: 1e-5",
    )
    parser.add_argument(
        "--prefix",
        default="",
        help="what the trunk's names begin with, where SOURCE has several trunks",
    )
    add(
        parser,
        "--variant",
        metavar="NAME",
        help="the network, where SOURCE does not say it: of those with the same tensors one may "
        "have SiLU for ReLU, or another pooling",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(args: argparse.Namespace) -> None:
    _check(args)
    try:
        _convert_detector(args) if args.detector else _convert_trunk(args)
    except FileExistsError as error:
        raise InputError(f"{error}; --overwrite replaces it") from error
    except FileNotFoundError as error:
        raise InputError(str(error)) from error


def _check(args: argparse.Namespace) -> None:
    """Raises InputError where options do not go together."""
    if args.detector and args.to not in LAYOUTS:
        raise InputError(
            f"--to {args.to}: has no layout of whole detectors; with --detector use one of "
            f"{', '.join(LAYOUTS)}"
        )
    given = {
        "--to-pixels": args.to_pixels,
        "--class-ids": args.class_ids,
        "--norm-eps": args.norm_eps,
    }
    for option, value in given.items():
        if value is not None and not args.detector:
            raise InputError(f"{option} {value}: is for whole detectors; add --detector")
    if args.norm_eps is not None and not 0 <= args.norm_eps < math.inf:
        raise InputError(f"--norm-eps {args.norm_eps}: must be a number from 0")


def _convert_trunk(args: argparse.Namespace) -> None:
    from resnext_backbones.weights.write import convert

    held, pixels, *_ = converted = convert(
        args.source,
        args.dest,
        args.to,
        preprocessing=PIXELS.get(args.pixels),
        prefix=args.prefix,
        variant=args.variant,
        overwrite=args.overwrite,
    )
    behind = f" behind {held.prefix!r}" if held.prefix else ""
    print(f"{args.dest}: {args.variant or held.variant}, from names of {held.family}{behind}")
    if assumed := converted.assumption:
        print(f"assumed, since the source does not say it: {assumed}; --variant NAME says it")
    print(f"pixels: {pixels or 'not known; --pixels says it'}")
    if left := held.outside:
        print(f"left out: {len(left)} tensors beside the trunk, {left[0]} and so on")
        print("--detector takes a Faster or Mask R-CNN with FPN whole")


def _convert_detector(args: argparse.Namespace) -> None:
    from resnext_backbones.weights.write_detectors import convert_detector

    done = convert_detector(
        args.source,
        args.dest,
        args.to,
        pixels=PIXELS.get(args.pixels),
        to_pixels=PIXELS.get(args.to_pixels),
        class_ids=args.class_ids or CLASS_IDS[0],
        norm_eps=args.norm_eps,
        prefix=args.prefix,
        variant=args.variant,
        overwrite=args.overwrite,
    )
    held = done.detector
    behind = f" behind {held.prefix!r}" if held.prefix else ""
    source = LAYOUTS[held.layout].name
    variant = args.variant or held.trunk.variant
    print(f"{args.dest}: {held.kind}, {variant}, {held.classes} classes")
    print(f"from names of {source}{behind}, to those of {LAYOUTS[args.to].name}")
    parts = ", ".join(f"{part} {count}" for part, count in held.counts().items())
    print(f"taken: {parts} tensors; nothing was left out")
    print(f"pixels: {done.pixels}")
    for change in done.changed:
        print(change)
    print("\nWith these settings it finds what it found before; all others are the defaults:")
    print(done.settings)
