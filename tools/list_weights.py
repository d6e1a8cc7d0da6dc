#!/usr/bin/env python3
"""List the published weights, or the configs: `resnext list`, for a checkout.

python tools/list_weights.py resnext101

--document writes the tables into docs/weights.md and README.md.
"""

from pathlib import Path

from resnext_backbones.cli import command_parser
from resnext_backbones.commands.arguments import run_tool
from resnext_backbones.commands.list import run
from resnext_backbones.engine import expected
from resnext_backbones.io import replace_between
from resnext_backbones.weights import registry

ROOT = Path(__file__).parents[1]
DOCUMENTS = {ROOT / "docs" / "weights.md": registry.markdown, ROOT / "README.md": expected.markdown}
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"


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
