"""List the published weights that have an alias.

resnext list resnext101
"""

import argparse
import os
import sys

from resnext_backbones.errors import InputError
from resnext_backbones.weights.registry import REGISTRY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("contains", nargs="?", default="", help="only aliases with this in them")


def run(args: argparse.Namespace) -> None:
    """List."""
    names = sorted(name for name in REGISTRY if args.contains in name)
    if not names:
        raise InputError(f"{args.contains}: no alias has this in it; `resnext list` has all")
    try:
        for alias in names:
            row = REGISTRY[alias]
            accuracy = "" if row.top1 is None else f"top-1 {row.top1:.1f}"
            print(f"{alias:48} {row.variant:18} {accuracy:11} {row.source.licence}")
        sys.stdout.flush()
    except BrokenPipeError:  # `head` has read what it wanted; at the end Python would flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
