"""Measure which way of each convolution is fastest here.

resnext tune resnext101_32x4d --batch 2 --size 800x1344 --frozen-stages 1
resnext tune mask_rcnn_x101_32x4d_fpn_coco --amp bf16
resnext tune imagenet/a2 --again

`resnext train` and its like do so before their first step where nothing is kept yet.
"""

import argparse

from resnext_backbones.commands.arguments import (
    add,
    complete_configs,
    image_size,
    not_negative,
    positive,
)
from resnext_backbones.errors import InputError


def _networks(prefix: str, **_: object) -> list[str]:
    """Returns the variants and configs that begin with `prefix`."""
    from resnext_backbones.variants import list_variants

    names = [name for name in list_variants() if name.startswith(prefix)]
    return [*names, *complete_configs(prefix)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add(
        parser,
        "network",
        help="a variant, such as resnext101_32x4d, or a config, whose backbone is measured",
        completer=_networks,
    )
    parser.add_argument(
        "--batch", type=positive, help="images of a step; default the config's, of a variant 2"
    )
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="HxW",
        help="of the images; default the largest that the config says, of a variant 800x1344",
    )
    add(parser, "--amp", help="mixed precision, as `resnext train`; default the config's")
    parser.add_argument(
        "--frozen-stages",
        type=not_negative,
        metavar="K",
        help="of a variant: the stem and so many stages are not trained; default: all is",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure what was measured before, too"
    )
    parser.add_argument(
        "--seconds", type=positive, default=60, help="at most about so many; default %(default)s"
    )
    add(parser, "--device")


def run(args: argparse.Namespace) -> None:
    from resnext_backbones.compute import tuned, tuning
    from resnext_backbones.reports.ways import ways_table
    from resnext_backbones.tasks.tunable import dtype_of, tunable
    from resnext_backbones.variants import list_variants

    if args.network not in list_variants() and args.frozen_stages is not None:
        raise InputError(f"--frozen-stages {args.frozen_stages}: the config says its own")
    found = tunable(args.network, batch=args.batch, size=args.size, frozen=args.frozen_stages)
    dtype = dtype_of(args.amp or found.amp, found.device)
    measured: list[tuning.Measured] = []
    print(f"{args.network}: images {tuple(found.shape)}, {dtype}, on {found.device}", flush=True)
    table = tuning.tune(
        found.trunk,
        found.shape,
        dtype=dtype,
        seconds=args.seconds,
        again=args.again,
        told=measured.append,
    )
    print(ways_table(table, measured))
    where = tuned.where(found.device, table)
    if not measured:
        where += "; --again measures anew"
    print(f"{len(measured)} measured (-10%: in a tenth less time than plain); {where}")
