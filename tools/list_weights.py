#!/usr/bin/env python3
"""List the published weights, or the configs: `resnext list`, for a checkout.

python tools/list_weights.py resnext101

--document writes the tables into docs/weights.md and README.md.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from resnext_backbones.cli import command_parser, run_tool
from resnext_backbones.commands.list import run
from resnext_backbones.engine.catalogue import markdown as results_table
from resnext_backbones.io import replace_between
from resnext_backbones.weights.preprocessing import PIXEL_NAMES
from resnext_backbones.weights.publishers import APACHE, BSD, NONCOMMERCIAL
from resnext_backbones.weights.registry import REGISTRY, Published

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "model_complexity.json"
MEASURED = ROOT / "docs" / "benchmarks"
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"
BEGIN_CHOICE = "<!-- choice: tools/list_weights.py --document -->"

LICENCES = ((APACHE, BSD), (NONCOMMERCIAL,))
"""Those with which all may use weights, and those for research."""


def as_table(lines: Iterable[tuple[str, ...]]) -> str:
    """Returns lines of cells as Markdown, the first of them as the head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rest))


def accuracy(row: Published) -> str:
    """Returns the top-1 accuracy of weights and what it is of, or what they tell apart instead."""
    if row.top1 is not None and row.crop is not None:
        return f"{row.top1:.1f} at {row.crop.size}"
    return "" if row.source.classes == 1000 else f"{row.source.classes:,} classes"


def kept_megabytes(measured: Path) -> tuple[str, dict[str, str]]:
    """Returns a heading, and of each variant what it keeps for the backward pass, as a result of
    `python -m benchmarks.family` in a folder has it, on whatever hardware; nothing where there is
    none.
    """
    results = sorted(measured.glob("family_*.json"))
    if not results:
        return "kept (MB)", {}
    family = json.loads(results[-1].read_text("utf-8"))["family"]
    kept = {name: f"{count / 1e6:.0f}" for name, count in family["kept_bytes"].items()}
    return f"kept at {' x '.join(map(str, family['size']))} (MB)", kept


def choice_table(measured: Path = MEASURED) -> str:
    """Returns the weights of which no others with as free a licence are both more accurate and of a
    network with no more multiply-adds.
    """
    heading, kept = kept_megabytes(measured)
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    lines: list[tuple[str, ...]] = [
        ("licence", "alias", "top-1", "multiply-adds (G)", "parameters (M)", heading)
    ]
    for licences in LICENCES:
        best = 0.0
        rows = {row.alias: row for row in REGISTRY.values() if row.source.licence in licences}
        found = [(record[row.variant], row.top1, row) for row in rows.values() if row.top1]
        for network, top1, row in sorted(
            found, key=lambda one: (one[0]["trunk_multiply_adds"], -one[1])
        ):
            if top1 > best:
                costs = network["trunk_multiply_adds"] / 1e9, network["trunk_parameters"] / 1e6
                memory = kept.get(row.variant, "-")
                numbers = (f"{cost:.1f}" for cost in costs)
                lines.append(
                    (row.source.licence, f"`{row.alias}`", accuracy(row), *numbers, memory)
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
                accuracy(row),
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
