#!/usr/bin/env python3
"""List the published weights that have an alias: `resnext list`, for a checkout.

python tools/list_weights.py resnext101

--document writes the table into docs/weights.md.
"""

from pathlib import Path

from resnext_backbones.cli import command_parser
from resnext_backbones.commands.arguments import run_tool
from resnext_backbones.commands.list import run
from resnext_backbones.io import write_between
from resnext_backbones.weights.registry import markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "weights.md"
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"


def main() -> None:
    parser = command_parser("list")
    parser.add_argument("--document", action="store_true", help="write docs/weights.md")
    args = parser.parse_args()
    if not args.document:
        run(args)
        return
    write_between(DOCUMENT, BEGIN, END, markdown())
    print(DOCUMENT)


if __name__ == "__main__":
    run_tool(main)
