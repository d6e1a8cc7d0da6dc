"""List the published weights, or the configs.

resnext list resnext101
resnext list --configs mask_rcnn
"""

import argparse
import os
import sys

from resnext_backbones.engine.catalogue import listing
from resnext_backbones.errors import InputError
from resnext_backbones.weights.registry import REGISTRY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contains", nargs="?", default="", help="only names with this in them")
    parser.add_argument(
        "--configs", action="store_true", help="the configs of this package, in place of weights"
    )


def run(args: argparse.Namespace) -> None:
    lines = listing(args.contains) if args.configs else aliases(args.contains)
    if not lines:
        what, command = ("config", "list --configs") if args.configs else ("alias", "list")
        raise InputError(f"{args.contains}: no {what} has this in it; `resnext {command}` has all")
    try:
        print("\n".join(lines))
        sys.stdout.flush()
    except BrokenPipeError:  # `head` has read what it wanted; at the end Python would flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def aliases(contains: str) -> list[str]:
    """Returns a line for each alias of published weights."""
    lines = []
    for alias in sorted(name for name in REGISTRY if contains in name):
        row = REGISTRY[alias]
        accuracy = "" if row.source.classes == 1000 else f"{row.source.classes:,} classes"
        if row.top1 is not None and row.crop is not None:
            accuracy = f"top-1 {row.top1:.1f} at {row.crop.size}"
        lines.append(f"{alias:50} {row.variant:25} {accuracy:17} {row.source.licence}")
    return lines
