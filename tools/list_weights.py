#!/usr/bin/env python3
"""List the published weights that can be named by an alias.

python tools/list_weights.py resnext101

--document writes the table into docs/weights.md.
"""

import argparse
from pathlib import Path

from resnext_backbones.weights.registry import REGISTRY, markdown
from resnext_backbones.whole import write_between

DOCUMENT = Path(__file__).parents[1] / "docs" / "weights.md"
BEGIN, END = "<!-- table: tools/list_weights.py --document -->", "<!-- end -->"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contains", nargs="?", default="", help="only aliases with this in them")
    parser.add_argument("--document", action="store_true", help="write docs/weights.md")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.document:
        write_between(DOCUMENT, BEGIN, END, markdown())
        print(DOCUMENT)
        return
    for alias in sorted(name for name in REGISTRY if args.contains in name):
        row = REGISTRY[alias]
        accuracy = "" if row.top1 is None else f"top-1 {row.top1:.1f}"
        print(f"{alias:48} {row.variant:18} {accuracy:11} {row.source.licence}")


if __name__ == "__main__":
    main()
