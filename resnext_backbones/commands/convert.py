"""Write weights for another framework.

resnext convert torchvision/resnext50_32x4d.v2 x50.pkl --to detectron2
resnext convert model_final.pth x101.safetensors --to safetensors --pixels BGR
resnext convert moco.pth x50.safetensors --to safetensors --prefix encoder_q
resnext convert net.pth x50.pth --to timm --variant legacy_seresnext50_32x4d

SOURCE is a file, an address, or an alias of `resnext list`. The trunk is written, with its
classification head if there is one; of a detector's checkpoint nothing else.
"""

import argparse

from resnext_backbones.commands.arguments import add, complete_weights
from resnext_backbones.errors import InputError
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
    from resnext_backbones.weights.write import convert

    given = PIXELS.get(args.pixels)
    try:
        held, pixels, *_ = converted = convert(
            args.source,
            args.dest,
            args.to,
            preprocessing=given,
            prefix=args.prefix,
            variant=args.variant,
            overwrite=args.overwrite,
        )
    except FileExistsError as error:
        raise InputError(f"{error}; --overwrite replaces it") from error
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    behind = f" behind {held.prefix!r}" if held.prefix else ""
    print(f"{args.dest}: {args.variant or held.variant}, from names of {held.family}{behind}")
    if assumed := converted.assumption:
        print(f"assumed, since the source does not say it: {assumed}; --variant NAME says it")
    print(f"pixels: {pixels or 'not known; --pixels says it'}")
    if left := held.outside:
        print(f"left out: {len(left)} tensors beside the trunk, {left[0]} and so on")
