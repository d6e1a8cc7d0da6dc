#!/usr/bin/env python3
"""List the published weights, or the configs: `resnext list`, for a checkout.

python tools/list_weights.py resnext101

--document writes the tables into docs/weights.md and README.md.
"""

from pathlib import Path

from resnext_backbones.cli import command_parser, run_tool
from resnext_backbones.commands.list import run
from resnext_backbones.engine.catalogue import markdown as results_table
from resnext_backbones.io import replace_between
from resnext_backbones.weights.preprocessing import PIXEL_NAMES
from resnext_backbones.weights.registry import REGISTRY

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"


def weights_table() -> str:
    """Returns the registry as a table; an alias of timm's stands beside that of the same file."""
    aliases: dict[str, list[str]] = {}
    for alias, row in REGISTRY.items():
        aliases.setdefault(row.alias, []).append(alias)
    head = "alias", "network", "top-1", "pixels", "norms", "licence", "published in"
    lines = [head, ("---",) * len(head)]
    for own, names in aliases.items():
        row = REGISTRY[own]
        norms = row.source.norms + (", ConvWS" if row.source.standardised else "")
        lines.append(
            (
                ", ".join(f"`{name}`" for name in names),
                row.variant,
                "" if row.top1 is None else f"{row.top1:.1f}",
                PIXEL_NAMES[row.source.preprocessing],
                norms,
                row.source.licence,
                f"[{row.source.reference.split('/')[2]}]({row.source.reference})",
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


DOCUMENTS = {ROOT / "docs" / "weights.md": weights_table, ROOT / "README.md": results_table}


def main() -> None:
    parser = command_parser("list")
    parser.add_argument("--document", action="store_true", help="write both tables")
    args = parser.parse_args()
    if not args.document:
        run(args)
        return
    for document, markdown in DOCUMENTS.items():
        replace_between(document, BEGIN, END, markdown())
        print(document)


if __name__ == "__main__":
    run_tool(main)
