"""Memory and time of the family's networks beside timm's, as a detector trains them.

python -m benchmarks.family --out docs/benchmarks

Bytes kept are counted without values, of all; time and peak are measured of the smallest network of
each kind. timm's has both memory formats, and the better one counts; this package's ways of
convolutions are not tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from benchmarks.command import DEVICE, console, finish, parser_of
from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.job import TASKS, Entry, Setting
from benchmarks.memory import kept_bytes
from benchmarks.provenance import provenance
from benchmarks.run import run
from resnext_backbones.cli import run_tool
from resnext_backbones.commands.arguments import image_size
from resnext_backbones.complexity import costs
from resnext_backbones.complexity import kept_bytes as own_kept
from resnext_backbones.models.parts.spatial import ATTEND
from resnext_backbones.variants import VARIANTS

PEER = "timm"

ENTRIES = Entry(OWN, ways="plain"), Entry(PEER), Entry(PEER, layout="channels_last")

TAKEN = "median", "peak_bytes"
"""The least of timm's counts of each of these."""

LARGEST = 5e9
"""Multiply-adds of the networks that are timed, at 224 x 224."""

ERRORS = "output_error", "gradient_error"


def names() -> list[str]:
    """Returns the variants with a part that a plain network lacks, and one that has none; but for
    those whose self-attention takes images of one size in timm.
    """
    return ["resnext50_32x4d", *(name for name in VARIANTS if is_special(name))]


def is_special(name: str) -> bool:
    """Tells whether timm has a network, and torchvision none of its kind."""
    peers = CONTESTANTS[PEER], CONTESTANTS["torchvision"]
    known, plain = (peer.builds(name) for peer in peers)
    row = VARIANTS[name]
    return known and not plain and row.stem != "3x3" and row.spatial not in ATTEND


def representatives() -> list[str]:
    """Returns the first network of each kind of parts, if it is not large."""
    kinds: dict[tuple[Any, ...], str] = {}
    for name in names():
        row = VARIANTS[name]
        parts = row.attention, row.attention_after, row.spatial, row.stage, row.pooling
        if costs()[name].trunk_multiply_adds <= LARGEST:
            kinds.setdefault((*parts, row.activation, row.stage_channels is None), name)
    return list(kinds.values())


def kept_by_peer(variant: str, size: tuple[int, int]) -> int:
    """Counts what timm's network keeps of one image for the backward pass, without values."""
    with torch.device("meta"):
        module = TASKS["detector"].build(CONTESTANTS[PEER], variant)
        images = torch.empty(1, 3, *size)
    return kept_bytes(module, lambda: module(images))


def measure(
    variants: Sequence[str],
    size: tuple[int, int],
    *,
    timed: Collection[str],
    turns: int,
    device: str,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Returns a row for each variant: bytes kept for one image, of this package and of timm; and
    what a step takes, of some.

    Args:
        variants: of `names`.
        size: of an image, in pixels; attention of BAT needs multiples of 256 in timm.
        timed: those of which a step is measured.
        turns: of each of these, after one that warms up.
        device: as PyTorch names it.
        say: is told what is going on.
    """
    rows = []
    for variant in variants:
        ours_kept, theirs_kept = own_kept(variant, images=1, size=size), kept_by_peer(variant, size)
        row: dict[str, Any] = {"variant": variant, "kept_bytes": ours_kept}
        row |= {"timm_kept_bytes": theirs_kept, "kept_bytes_ratio": ours_kept / theirs_kept}
        rows.append(row)
        if variant not in timed:
            continue
        say(variant)
        setting = Setting("detector", variant, 1, (size,), device)
        result = run(setting, ENTRIES, turns=turns, say=lambda _: None)
        for each in result["failed"]:
            raise RuntimeError(f"{variant}: {each['label']} failed: {each['error']}")
        own, *theirs = result["rows"]
        row |= {key: own[key] for key in (*TAKEN, *ERRORS)}
        for key in TAKEN:
            row[f"timm_{key}"] = min(each[key] for each in theirs)
            row[f"{key}_ratio"] = row[key] / row[f"timm_{key}"]
    return {"family": {"size": size, "turns": turns}, "rows": rows, **provenance(device)}


def main() -> None:
    parser = parser_of("family", __doc__)
    parser.add_argument(
        "--timed",
        nargs="*",
        choices=names(),
        default=representatives(),
        help="default: %(default)s",
    )
    parser.add_argument("--size", type=image_size, default=(512, 512), help="HEIGHTxWIDTH")
    parser.add_argument("--turns", type=int, default=3, help="of each; default %(default)s")
    parser.add_argument("--device", default=DEVICE)
    args = parser.parse_args()
    say = console().log
    result = measure(
        names(), args.size, timed=args.timed, turns=args.turns, device=args.device, say=say
    )
    finish("family", result, args.out, "family")


if __name__ == "__main__":
    run_tool(main)
