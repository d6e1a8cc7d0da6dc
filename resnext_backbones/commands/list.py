"""List networks, weights or configs; pick weights that fit.

resnext list resnext101 --sort accuracy
resnext list --networks --sort memory --measure
resnext list --latency 40ms --memory 8GB --licence free
resnext list --configs mask_rcnn

With --latency or --memory the most accurate weights within are picked, and what became of all
others is said. Latencies are measured where none are known, on the GPU if there is one, and kept.
"""

import argparse
import os
import sys
import time

from resnext_backbones.commands.arguments import add, byte_count, image_size, positive, quantity
from resnext_backbones.complexity import IMAGES, SIZE, costs
from resnext_backbones.compute import latency
from resnext_backbones.engine.catalogue import listing
from resnext_backbones.errors import InputError
from resnext_backbones.reports.networks import (
    SORTED_BY,
    chosen,
    of_networks,
    of_weights,
    ordered,
    table,
)
from resnext_backbones.weights.choose import Limits, choose, milliseconds, published
from resnext_backbones.weights.publishers import FREE
from resnext_backbones.weights.registry import REGISTRY

OF_TABLES = (
    "sort", "licence", "latency", "memory", "size", "batch", "measure", "again", "seconds",
)  # fmt: skip
"""These arguments say nothing of configs."""

TIME = {"ms": 1e-3, "s": 1.0}


def _time(text: str) -> float:
    return quantity(text, TIME)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("contains", nargs="?", default="", help="only names with this in them")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--networks", action="store_true", help="networks, in place of weights")
    what.add_argument(
        "--configs", action="store_true", help="the configs of this package, in place of weights"
    )
    add(parser, "--sort", choices=SORTED_BY, help="the best first; default: by name")
    add(
        parser,
        "--licence",
        choices=("any", "free"),
        help="free: weights that all may use, also to earn money; default any",
    )
    add(parser, "--latency", type=_time, metavar="T", help="pick weights: at most so long, as 40ms")
    add(
        parser,
        "--memory",
        type=byte_count,
        metavar="M",
        help="pick weights: at most so much, as 8GB",
    )
    add(
        parser,
        "--size",
        type=image_size,
        metavar="HxW",
        help="of the images of latency and memory; default 800x1344",
    )
    add(parser, "--batch", type=positive, help="images of the step of memory; default 2")
    add(parser, "--measure", action="store_true", help="the latencies that are not known yet")
    add(parser, "--again", action="store_true", help="measure what is known, too, as after a tune")
    add(parser, "--seconds", type=positive, help="of measuring, about; default 60")


def run(args: argparse.Namespace) -> None:
    if args.configs:
        _no_others(args)
        lines = listing(args.contains)
        if not lines:
            raise InputError(_nothing(args.contains, "config", "list --configs"))
    elif args.latency or args.memory:
        lines = _pick(args)
    else:
        lines = _list(args)
    try:
        print("\n".join(lines))
        sys.stdout.flush()
    except BrokenPipeError:  # `head` has read what it wanted; at the end Python would flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _no_others(args: argparse.Namespace) -> None:
    """Raises InputError where there is one of `OF_TABLES`."""
    for name in OF_TABLES:
        if getattr(args, name):
            raise InputError(f"--{name}: configs have none; leave out --configs, or this")


def _nothing(contains: str, what: str, command: str) -> str:
    return f"{contains}: no {what} has this in it; `resnext {command}` has all"


def _known(args: argparse.Namespace, limits: Limits) -> latency.Taken:
    return latency.Taken("", {}) if args.again else latency.known(limits.size)


def _limits(args: argparse.Namespace) -> Limits:
    free = args.licence == "free"
    images, size = args.batch or IMAGES, args.size or SIZE
    return Limits(free, args.memory, args.latency, images, size)


def _list(args: argparse.Namespace) -> list[str]:
    limits = _limits(args)
    if args.networks:
        if args.licence:
            raise InputError("--licence: weights have one, and networks have not; leave it out")
        names = [name for name in costs() if args.contains in name]
        networks, what = names, ("network", "list --networks")
    else:
        rows = {alias: row for alias, row in sorted(REGISTRY.items()) if args.contains in alias}
        if limits.free:
            rows = {alias: row for alias, row in rows.items() if row.source.licence in FREE}
        networks, what = [row.variant for row in rows.values()], ("alias", "list")
    if not networks:
        raise InputError(_nothing(args.contains, *what))
    taken = _known(args, limits)
    if args.measure or args.again:
        taken = _measure(networks, limits.size, taken, args.seconds or 60)
    if args.networks:
        lines = of_networks(names, limits, taken.seconds)
    else:
        lines = of_weights(rows, limits, taken.seconds)
    return table(ordered(lines, args.sort or "name"), limits, taken)


def _measure(
    networks: list[str], size: tuple[int, int], taken: latency.Taken, seconds: float
) -> latency.Taken:
    """Returns what was known with what could be measured in so many seconds, the smallest first."""
    end, found = time.monotonic() + seconds, dict(taken.seconds)
    asked = sorted({*networks} - {*found}, key=lambda name: costs()[name].trunk_multiply_adds)
    asked = [name for name in asked if costs()[name].kept_bytes is not None]
    for name in asked:
        if time.monotonic() > end:
            left = len([each for each in asked if each not in found])
            _say(f"{left} are not measured yet: again, or --seconds with more than {seconds:g}")
            break
        found[name] = _timed(name, size)
    return latency.Taken(latency.described(_device()), found)


def _pick(args: argparse.Namespace) -> list[str]:
    for name in ("networks", "sort", "measure"):
        if getattr(args, name):
            raise InputError(f"--{name}: --latency and --memory pick weights; leave one out")
    limits, rows = _limits(args), published(args.contains)
    if not rows:
        raise InputError(_nothing(args.contains, "alias", "list"))
    taken = _known(args, limits)
    choice = choose(
        rows,
        limits,
        taken.seconds,
        lambda name: _timed(name, limits.size),
        seconds=args.seconds or 60,
    )
    device = latency.described(_device()) if choice.best.seconds is not None else ""
    return chosen(choice, limits, device)


def _timed(name: str, size: tuple[int, int]) -> float:
    seconds = latency.measure(name, size)
    _say(f"measured: {name} {milliseconds(seconds)}")
    return seconds


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
