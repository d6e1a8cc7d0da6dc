#!/usr/bin/env python3
"""List the published weights, or the configs: `resnext list`, for a checkout.

python tools/list_weights.py resnext101

--document writes the tables into docs/weights.md and README.md.
"""

from collections.abc import Iterable
from pathlib import Path

from resnext_backbones.cli import command_parser, run_tool
from resnext_backbones.commands.list import run
from resnext_backbones.complexity import costs, training_bytes
from resnext_backbones.engine.catalogue import markdown as results_table
from resnext_backbones.io import replace_between
from resnext_backbones.weights.preprocessing import PIXEL_NAMES
from resnext_backbones.weights.publishers import FREE, NONCOMMERCIAL
from resnext_backbones.weights.registry import REGISTRY

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"
BEGIN_CHOICE = "<!-- choice: tools/list_weights.py --document -->"

LICENCES = (FREE, (NONCOMMERCIAL,))
"""Those with which all may use weights, and those for research."""


def as_table(lines: Iterable[tuple[str, ...]]) -> str:
    """Returns lines of cells as Markdown, the first of them as the head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rest))


def choice_table() -> str:
    """Returns the weights of which no others with as free a licence are both more accurate and of a
    network with no more multiply-adds.
    """
    lines: list[tuple[str, ...]] = [
        ("licence", "alias", "top-1", "multiply-adds (G)", "parameters (M)", "memory (GB)")
    ]
    for licences in LICENCES:
        best = 0.0
        rows = {row.alias: row for row in REGISTRY.values() if row.source.licence in licences}
        found = [(costs()[row.variant], row.top1, row) for row in rows.values() if row.top1]
        for network, top1, row in sorted(
            found, key=lambda one: (one[0].trunk_multiply_adds, -one[1])
        ):
            if top1 > best:
                numbers = (
                    network.trunk_multiply_adds / 1e9,
                    network.trunk_parameters / 1e6,
                    (training_bytes(row.variant) or 0) / 1e9,
                )
                lines.append(
                    (
                        row.source.licence,
                        f"`{row.alias}`",
                        row.accuracy,
                        *(f"{number:.1f}" for number in numbers),
                    )
                )
                best = top1
    return as_table(lines)


def weights_table() -> str:
    """Returns the registry as a table; an alias of timm's stands beside that of the same file."""
    aliases: dict[str, list[str]] = {}
    for alias, row in REGISTRY.items():
        aliases.setdefault(row.alias, []).append(alias)
    lines: list[tuple[str, ...]] = [
        ("alias", "network", "top-1", "pixels", "norms", "licence", "published in")
    ]
    for own, names in aliases.items():
        row = REGISTRY[own]
        norms = row.source.norms + (", ConvWS" if row.source.standardised else "")
        lines.append(
            (
                ", ".join(f"`{name}`" for name in names),
                row.variant,
                row.accuracy,
                PIXEL_NAMES[row.source.preprocessing],
                norms,
                row.source.licence,
                f"[{row.source.reference.split('/')[2]}]({row.source.reference})",
            )
        )
    return as_table(lines)


WEIGHTS = ROOT / "docs" / "weights.md"
TABLES = (
    (WEIGHTS, BEGIN_CHOICE, choice_table),
    (WEIGHTS, BEGIN, weights_table),
    (ROOT / "README.md", BEGIN, results_table),
)


def main() -> None:
    parser = command_parser("list")
    parser.add_argument("--document", action="store_true", help="write the tables")
    args = parser.parse_args()
    if not args.document:
        run(args)
        return
    for document, begin, markdown in TABLES:
        replace_between(document, begin, END, markdown())
        print(document)


if __name__ == "__main__":
    run_tool(main)
